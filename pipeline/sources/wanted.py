"""Which source columns a stream needs, and what each must hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.config.models import SensorStream, Stream

Role = Literal["time", "text", "name", "number", "amount"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One column: its name in the records, in the source, and what it must hold.

    Roles: `time`; `name` (text that must be there: entity, id); `text` (may be missing); `number` (may be
    missing, a gap); `amount` (a number that must be there).
    """

    name: str
    column: str
    role: Role
    low: float | None = None
    high: float | None = None

    @property
    def textual(self) -> bool:
        """Whether it is kept as text."""
        return self.role in ("name", "text")


def wanted(stream: Stream) -> tuple[Wanted, ...]:
    """Return the columns a stream reads, in the order of its records."""
    if isinstance(stream, SensorStream):
        return (
            *_entity(stream.fields.entity),
            Wanted("time", stream.fields.time.column, "time"),
            *_channels(stream),
        )
    fields = stream.fields
    return (
        Wanted("id", fields.id, "name"),
        Wanted("entity", fields.entity, "name"),
        Wanted("time", fields.time.column, "time"),
        Wanted("amount", fields.amount, "amount"),
        *(Wanted(c, c, "text") for c in fields.categories),
        *([Wanted("label", fields.label, "number")] if fields.label else []),
    )


def _entity(column: str | None) -> Sequence[Wanted]:
    return [Wanted("entity", column, "name")] if column else []


def _channels(stream: SensorStream) -> Sequence[Wanted]:
    return [Wanted(c.name, c.source_column, "number", c.min, c.max) for c in stream.fields.channels]
