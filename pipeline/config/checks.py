"""A document against a model: what pydantic refuses, references where none are read, secrets in clear.

In: a `Document`. Out: the model, or every error with file, line and key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pipeline.config.credentials import FORMS, misuse
from pipeline.config.document import Document, Where
from pipeline.config.locate import locate
from pipeline.config.models import Stream
from pipeline.config.problems import listed, nearest, problem_at, translate
from pipeline.errors import ConfigError

M = TypeVar("M", bound=BaseModel)
_OF_FILE = ("name", "kind")


def check(doc: Document, model: type[M]) -> tuple[M | None, list[ConfigError]]:
    """Return `doc` as `model`, or None, and everything wrong with it."""
    errors = [*doc.errors, *references(doc, model)]
    try:
        made = model.model_validate(doc.data)
    except ValidationError as error:
        return None, errors + translate(error, model, doc)
    return (None if errors else made), errors


def check_part(doc: Document, model: type[BaseModel]) -> list[ConfigError]:
    """Return what is wrong with a part of a `model`: what is left out, or needs the rest, is not."""
    errors = references(doc, model)
    for key in _OF_FILE:
        if key in doc.data:
            errors.append(problem_at(doc, (key,), "unknown key", hint="it belongs in each stream's own file"))
    rest = Document(doc.file, {k: v for k, v in doc.data.items() if k not in _OF_FILE}, doc.marks, doc.unread)
    try:
        model.model_validate(rest.data)
    except ValidationError as error:
        errors += translate(error, model, rest, part=True)
    return errors


def references(doc: Document, model: type[BaseModel]) -> list[ConfigError]:
    """Return an error for each `${…}` that would not be read, and each secret that stands in clear."""
    errors = []
    for where, text in _texts(doc.data, ()):
        reference = locate(model, where, doc.data).reference
        if (reference or "${" in text) and (problem := misuse(text, reference)):
            expected = "plain text" if reference is None else FORMS
            errors.append(problem_at(doc, where, problem, expected))
    return errors


def receivers(stream: Stream, known: Collection[str], doc: Document) -> list[ConfigError]:
    """Return an error for each receiver of `stream` that alerts.yaml does not have."""
    return [
        problem_at(
            doc,
            ("alert", "receivers", index),
            f"no receiver {name} in alerts.yaml",
            listed(known),
            nearest(name, known),
        )
        for index, name in enumerate(stream.alert.receivers)
        if name not in known
    ]


def _texts(value: Any, where: Where) -> Iterator[tuple[Where, str]]:
    """Walk to every text; recursion is as deep as YAML may nest."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, dict):
        for key, below in value.items():
            yield from _texts(below, (*where, key))
    elif isinstance(value, tuple):
        for index, below in enumerate(value):
            yield from _texts(below, (*where, index))
