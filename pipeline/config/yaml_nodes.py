"""Strict YAML: one file as plain data, with the line of every key and value.

In: bytes. Out: a `Document` of mappings, tuples and scalars of the YAML 1.2 core schema, and what is not
allowed: aliases, anchors, tags, duplicate keys, several documents. Built from PyYAML's parser events with
a stack of its own, so that no input recurses or expands.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from pipeline.config.document import MOST, Document, Mark, Where, dotted, plain
from pipeline.errors import ConfigError

LIMIT = 256 * 1024
DEPTH = 16
LONGEST_KEY = 128

_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\ufeff\u2066-\u2069\ud800-\udfff]")
_NULL = re.compile(r"|~|null|Null|NULL")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]{1,40}")
_BASED = re.compile(r"0o[0-7]{1,40}|0x[0-9a-fA-F]{1,40}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_MEANINGS: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
    (_NULL, lambda _: None),
    (_BOOL, lambda text: text[0] in "tT"),
    (_INT, int),
    (_BASED, lambda text: int(text, 0)),
    (_FLOAT, float),
    (_SPECIAL, lambda text: float(text.replace(".", ""))),
)


def scalar(text: str) -> Any:
    """Read an unquoted scalar as the YAML 1.2 core schema does: `no` and `1:30` are text, `010` is ten."""
    return next((read(text) for shape, read in _MEANINGS if shape.fullmatch(text)), text)


def parse(content: bytes, file: str) -> Document:
    """Read one file's bytes; what is wrong with the YAML is in the document's `errors`, not raised."""
    doc = Document(file, unread={()})
    text = _decode(content, doc)
    if text is not None and _build(text, doc):
        doc.unread.discard(())
    return doc


def _build(text: str, doc: Document) -> bool:
    """Fill `doc` from `text`; False when the file broke off."""
    try:
        return _Builder(doc).build(text)
    except _Stop:
        return False
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or "unreadable"
        tab = "indent with spaces, not tabs" if "'\\t'" in problem else ""
        _wrong(doc, mark.line + 1 if mark else 1, f"not YAML: {plain(problem, 90)}", hint=tab)
    except (yaml.YAMLError, ValueError, OverflowError):  # \U00110000 in a text is a ValueError in PyYAML
        _wrong(doc, 1, "not YAML: it holds a character that does not exist")
    return False


def _decode(content: bytes, doc: Document) -> str | None:
    if len(content) > LIMIT:
        _wrong(doc, 1, f"the file has more than {LIMIT} bytes", expected="at most 256 KiB")
        return None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        _wrong(doc, line, f"byte {error.start} is not UTF-8", expected="text in UTF-8")
        return None
    hidden = _HIDDEN.search(text.replace("\r\n", "\n\n"))
    if hidden:
        line = text.count("\n", 0, hidden.start()) + 1
        _wrong(doc, line, f"invisible character U+{ord(hidden[0]):04X}", hint="delete it")
        return None
    return text


def _wrong(doc: Document, line: int, problem: str, key: str = "", expected: str = "", hint: str = "") -> None:
    doc.errors.append(ConfigError(problem, file=doc.file, line=line, key=key, expected=expected, hint=hint))


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


class _Stop(Exception):
    """The rest of the file cannot be made sense of."""


@dataclass
class _Open:
    """A mapping or sequence that has begun and not ended."""

    where: Where
    value: dict[str, Any] | list[Any]
    key: str | None = None  # a mapping's key that waits for its value
    skip: bool = False  # that value is thrown away: its key is unusable or came twice
    lost: bool = False  # the whole thing is thrown away

    @property
    def wants_key(self) -> bool:
        return isinstance(self.value, dict) and self.key is None

    @property
    def next(self) -> Where:
        return (*self.where, len(self.value) if isinstance(self.value, list) else self.key or "")


class _Builder:
    """Turns parser events into a document's data, without recursion."""

    def __init__(self, doc: Document) -> None:
        self.doc = doc
        self.open: list[_Open] = []
        self.documents = 0

    def build(self, text: str) -> bool:
        """Read all of `text` into the document; False when there is nothing in it."""
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            self._on(event)
        if not self.documents:
            _wrong(self.doc, 1, "the file is empty", expected="a mapping of keys")
        return self.documents == 1

    def _on(self, event: yaml.Event) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self._document(event)
            case yaml.AliasEvent():
                self._alias(event)
            case yaml.ScalarEvent():
                self._scalar(event)
            case yaml.CollectionStartEvent():
                self._start(event)
            case yaml.CollectionEndEvent():
                self._end()

    def _document(self, event: yaml.DocumentStartEvent) -> None:
        self.documents += 1
        if self.documents > 1:
            self._refuse(event, "a second document (`---`)", "one file, one document")
            raise _Stop
        if event.version or event.tags:
            self._refuse(event, "directives (`%YAML`, `%TAG`) are not allowed", "delete the line")

    def _alias(self, event: yaml.AliasEvent) -> None:
        self._refuse(event, "aliases (`*name`) are not allowed", "write the value out")
        if not self.open or self.open[-1].wants_key:
            raise _Stop
        self.doc.unread.add(self._here)
        self._value(None, event)

    def _refuse(self, event: yaml.Event, problem: str, hint: str) -> None:
        _wrong(self.doc, _line(event), problem, dotted(self._here), hint=hint)
        if len(self.doc.errors) >= MOST:
            raise _Stop

    @property
    def _here(self) -> Where:
        if not self.open:
            return ()
        top = self.open[-1]
        return top.where if top.wants_key else top.next

    def _labels(self, event: yaml.NodeEvent) -> None:
        """Refuse anchors and tags, wherever they stand."""
        if event.anchor is not None:
            self._refuse(event, "anchors (`&name`) are not allowed", "write the value out where it is needed")
        if getattr(event, "tag", None) is not None:
            self._refuse(
                event, "tags (`!name`) are not allowed", "plain text, numbers, lists and mappings only"
            )
            self.doc.unread.add(self._here)

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        self._labels(event)
        text: str = event.value
        if not self.open:
            self._refuse(event, "the file is one single value", "write `key: value` lines")
            raise _Stop
        if self.open[-1].wants_key:
            self._key(text, event)
            return
        if hidden := _HIDDEN.search(text):
            self._refuse(event, f"invisible character U+{ord(hidden[0]):04X}", "delete it")
            self.doc.unread.add(self._here)
        self._value(scalar(text) if event.style is None else text, event)

    def _key(self, text: str, event: yaml.ScalarEvent) -> None:
        top = self.open[-1]
        assert isinstance(top.value, dict)
        top.key = text
        top.skip = True
        if event.style is None and not isinstance(scalar(text), str):
            self._refuse(event, "a key that is not text", "put it in quotes")
        elif len(text) > LONGEST_KEY or _HIDDEN.search(text):
            top.key = text[:20] + "…"
            self._refuse(event, f"a key of {len(text)} characters", f"at most {LONGEST_KEY}, all visible")
        elif text in top.value:
            first = self.doc.marks.get(top.next)
            line = f" (line {first.line})" if first else ""
            self._refuse(event, f"duplicate key{line}", "keep one of them")
        else:
            top.skip = False
            self._note(top.next, event)

    def _note(self, where: Where, event: yaml.Event) -> None:
        if not self.open[-1].lost:
            self.doc.marks.setdefault(where, Mark(self.doc.file, _line(event)))

    def _value(self, value: Any, event: yaml.Event | None) -> None:
        """Put a finished value where it belongs, and wait for the next key."""
        if not self.open:
            return
        top = self.open[-1]
        if isinstance(top.value, list):
            if event:
                self._note(top.next, event)
            top.value.append(value)
            return
        if top.key is not None and not top.skip:
            top.value[top.key] = value
        top.key, top.skip = None, False

    def _start(self, event: yaml.CollectionStartEvent) -> None:
        self._labels(event)
        mapping = isinstance(event, yaml.MappingStartEvent)
        if len(self.open) >= DEPTH:
            self._refuse(event, f"nested more than {DEPTH} deep", "a stream needs four")
            raise _Stop
        if not self.open:
            self._root(event, mapping)
            return
        top = self.open[-1]
        if top.wants_key:
            self._refuse(event, "a key that is not text", "a list or mapping cannot be a key")
            raise _Stop
        self._note(top.next, event)
        self.open.append(_Open(top.next, {} if mapping else [], lost=top.lost or top.skip))

    def _root(self, event: yaml.CollectionStartEvent, mapping: bool) -> None:
        if not mapping:
            self._refuse(event, "the file is a list", "write `key: value` lines")
            raise _Stop
        self.doc.marks[()] = Mark(self.doc.file, _line(event))
        self.open.append(_Open((), self.doc.data))

    def _end(self) -> None:
        done = self.open.pop()
        self._value(tuple(done.value) if isinstance(done.value, list) else done.value, None)
