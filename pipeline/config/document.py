"""A YAML file as plain data that remembers where everything stands; how files are laid over each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.config.credentials import looks_secret
from pipeline.errors import ConfigError

MOST = 50
"""Errors told of one file."""
Where = tuple[str | int, ...]


class Mark(NamedTuple):
    """A place in a file; the first line is 1."""

    file: str
    line: int


@dataclass
class Document:
    """One YAML file, or several laid over each other, as plain data.

    Attributes:
        data: The root mapping; sequences are tuples.
        marks: Where each key or item stands, by its path.
        unread: Paths whose value could not be taken, so that nothing more need be said about it.
        errors: What is wrong with the YAML itself.
    """

    file: str
    data: dict[str, Any] = field(default_factory=dict)
    marks: dict[Where, Mark] = field(default_factory=dict)
    unread: set[Where] = field(default_factory=set)
    errors: list[ConfigError] = field(default_factory=list)

    @classmethod
    def of(cls, file: str, data: Mapping[str, Any]) -> Document:
        """Make a document of data that was never a file: everything stands in its first line."""
        doc = cls(file)
        doc.data = doc._take(data, ())
        return doc

    def _take(self, value: Any, where: Where) -> Any:
        self.marks[where] = Mark(self.file, 1)
        if isinstance(value, Mapping):
            return {key: self._take(below, (*where, key)) for key, below in value.items()}
        if isinstance(value, (list, tuple)):
            return tuple(self._take(below, (*where, i)) for i, below in enumerate(value))
        return value

    def mark(self, where: Where) -> Mark:
        """Return where `where` stands, or the nearest thing above it that stands anywhere."""
        for size in range(len(where), -1, -1):
            if where[:size] in self.marks:
                return self.marks[where[:size]]
        return Mark(self.file, 1)

    def could_read(self, where: Where) -> bool:
        """Tell whether the value at `where` was taken from the file as written."""
        return not any(where[:size] in self.unread for size in range(len(where) + 1))


def dotted(where: Where) -> str:
    """Write a path as people do: `fields.channels[2].unit`."""
    return "".join(f"[{w}]" if isinstance(w, int) else f".{_key(w)}" for w in where).removeprefix(".")


def _key(key: str) -> str:
    return "(not shown)" if looks_secret(key) else plain(key)


def plain(text: str, longest: int = 60) -> str:
    """Return `text` on one line, short, in letters that cannot pass for others."""
    cut = text if len(text) <= longest else text[: longest - 1] + "…"
    return "".join(c if (c.isascii() and c.isprintable()) or c in "…°µ²³" else ascii(c)[1:-1] for c in cut)


def overlay(beneath: Document, above: Document) -> Document:
    """Lay `above` over `beneath`: mappings merge, all else is replaced whole; marks follow the values."""
    out = Document(above.file, marks=dict(beneath.marks), unread=set(beneath.unread))
    out.data = _merge(beneath.data, above.data, (), out)
    out.marks |= above.marks
    out.unread |= above.unread
    out.errors = list(above.errors)
    return out


def _merge(low: dict[str, Any], high: dict[str, Any], where: Where, out: Document) -> dict[str, Any]:
    merged = dict(low)
    for key, value in high.items():
        here, old = (*where, key), low.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = _merge(old, value, here, out)
        else:
            if key in low:
                _forget(out, here)
            merged[key] = value
    return merged


def _forget(doc: Document, where: Where) -> None:
    for gone in [w for w in doc.marks if w[: len(where)] == where]:
        del doc.marks[gone]
    doc.unread -= {w for w in doc.unread if w[: len(where)] == where}


def below(doc: Document, key: str) -> Document:
    """Return the section `key` of `doc` as a document of its own; empty when it is no mapping."""
    section = doc.data.get(key)
    return Document(
        doc.file,
        section if isinstance(section, dict) else {},
        {w[1:]: mark for w, mark in doc.marks.items() if w[:1] == (key,)},
        {w[1:] for w in doc.unread if w[:1] == (key,)},
    )
