"""Which model and field a path of the YAML leads to, so that an error can name what belongs there.

In: a model and a path. Out: the path in plain keys, the field, and the model the last key is looked up in.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.config.document import Where
from pipeline.config.scalars import Reference


@dataclass(frozen=True)
class Located:
    """A path in the YAML, and what the models know about it."""

    where: Where
    field: FieldInfo | None = None
    parent: type[BaseModel] | None = None
    notes: tuple[Any, ...] = ()

    @property
    def reference(self) -> Reference | None:
        """How `${…}` may be used here; None where it may not."""
        return next((n for n in self.notes if isinstance(n, Reference)), None)

    @property
    def description(self) -> str:
        """First sentence of the field's docstring."""
        text = (self.field and self.field.description) or ""
        return text.split(". ")[0].rstrip(".").split("\n")[0]


def locate(model: type[BaseModel], loc: Sequence[str | int], data: Any) -> Located:
    """Follow `loc` from `model` through `data`, leaving out what pydantic put in: union tags and `[key]`."""
    kind: Any = model
    found = Located(())
    steps = [step for step in loc if step != "[key]"]
    for step in steps:
        kind, tag = _choose(kind, data)
        if tag is not None and step == tag:
            continue  # pydantic names the chosen member between the key and what is below it
        found, kind = _follow(found, kind, step)
        data = _child(data, step)
    return found


def keys_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return a model's fields by their keys in the YAML."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _follow(found: Located, kind: Any, step: str | int) -> tuple[Located, Any]:
    where = (*found.where, step)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = keys_of(kind).get(str(step))
        notes = tuple(field.metadata) if field else ()
        inner, more = peel(field.annotation if field else None)
        if field and field.discriminator:  # pydantic moved it from the union to the field
            inner = Annotated[inner, field]
        return Located(where, field, kind, notes + more), inner
    item = _item(kind)
    return Located(where, found.field, None, peel(item)[1]), item


def peel(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """Take `Annotated` and `| None` off a type; return it with its annotations."""
    notes: tuple[Any, ...] = ()
    while True:
        if get_origin(kind) is Annotated:
            kind, *more = get_args(kind)
            notes += tuple(more)
        elif (some := _not_none(kind)) is not None:
            kind = some
        else:
            return kind, notes


def _not_none(kind: Any) -> Any:
    if get_origin(kind) not in (Union, types.UnionType):
        return None
    members = [m for m in get_args(kind) if m is not type(None)]
    return members[0] if len(members) == 1 else None


def _item(kind: Any) -> Any:
    """Return the type of a tuple's items or a dict's values."""
    arguments = get_args(kind)
    if get_origin(kind) is tuple:
        return arguments[0]
    return arguments[1] if get_origin(kind) is dict else None


def _choose(kind: Any, data: Any) -> tuple[Any, str | None]:
    """Return the member of a tagged union that `data` says it is, and its tag."""
    kind, notes = peel(kind)
    tag = next((n.discriminator for n in notes if isinstance(n, FieldInfo) and n.discriminator), None)
    if not isinstance(tag, str):
        return kind, None
    named = data.get(tag) if isinstance(data, dict) else None
    for member in get_args(kind):
        field = member.model_fields[tag]
        if named in get_args(field.annotation) or (named is None and not field.is_required()):
            return member, get_args(field.annotation)[0]
    return None, None


def _child(data: Any, step: str | int) -> Any:
    if isinstance(data, dict):
        return data.get(step)
    return data[step] if isinstance(data, tuple) and isinstance(step, int) and step < len(data) else None
