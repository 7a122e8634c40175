"""Which columns of a stream's records mean what."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.config.scalars import Column, Positive, SourceColumn, Strict, Zone, at

RESERVED = frozenset({"entity", "time", "date", "batch", "id", "amount"})


class TimeField(Strict):
    """How the time column is written."""

    column: SourceColumn = "time"
    """Column in the source."""
    format: Literal["auto", "iso8601", "s", "ms", "us", "ns"] = "auto"
    """`auto`: ISO 8601 text, or a number of seconds, ms, us or ns since 1970 told by its size."""
    timezone: Zone = "UTC"
    """IANA zone of times written without an offset."""


class Channel(Strict):
    """One measured quantity of a sensor stream."""

    name: Column
    """What people and tables call it."""
    unit: str = Field(default="", max_length=32)
    """Unit of its values, for people: bar, m3/h, °C."""
    column: SourceColumn | None = None
    """Column in the source; the channel's name when left out."""
    min: float | None = None
    """Lowest value the sensor can report; a record below it is rejected."""
    max: float | None = None
    """Highest value the sensor can report; a record above it is rejected."""
    low: float | None = None
    """Limit of your own: a reading below it is stored, and is an anomaly of kind `range`."""
    high: float | None = None
    """Limit of your own: a reading above it is stored, and is an anomaly of kind `range`."""
    role: Literal["auto", "measured", "command"] = "auto"
    """`command`: set by somebody, not measured; its own steps are no error, and it is context for the others.
    `auto`: a channel with two values in training is a command, any other is measured."""

    @model_validator(mode="after")
    def _range(self) -> Self:
        _check_order(("min", self.min), ("max", self.max))
        _check_order(("low", self.low), ("high", self.high))
        if self.low is not None and self.min is not None and self.low <= self.min:
            raise at(
                "low", problem=f"low {self.low:g} is not above min {self.min:g}, below which is rejected"
            )
        if self.high is not None and self.max is not None and self.high >= self.max:
            raise at(
                "high", problem=f"high {self.high:g} is not below max {self.max:g}, above which is rejected"
            )
        return self

    @property
    def source_column(self) -> str:
        """Where the channel is found in the source."""
        return self.column or self.name


_Place = tuple[str | int, ...]


def _check_order(lower: tuple[str, float | None], upper: tuple[str, float | None]) -> None:
    """Refuse a lower bound that is not below its upper one."""
    (low, least), (high, most) = lower, upper
    if least is not None and most is not None and least >= most:
        raise at(low, problem=f"{low} {least:g} is not below {high} {most:g}")


def _check_names(names: Iterable[tuple[str, _Place]], reserved: frozenset[str], hint: str) -> None:
    """Refuse names that a table could not tell apart (case does not count) or that it uses itself."""
    seen: dict[str, str] = {}
    for name, where in names:
        if name.casefold() in reserved:
            raise at(*where, problem=f"{name} is a name Offbeat's tables use themselves; {hint}")
        if (other := seen.setdefault(name.casefold(), name)) is not name:
            same = "is named twice" if other == name else f"differs from {other} only in case"
            raise at(*where, problem=f"{name} {same}")


def _check_columns(columns: Iterable[tuple[str, str, _Place]]) -> None:
    """Refuse a column that would be read twice; each comes with what it is for, and where that stands."""
    seen: dict[str, str] = {}
    for column, what, where in columns:
        if column in seen:
            raise at(*where, problem=f"column {column!r} is already the {seen[column]}")
        seen[column] = what


class SensorFields(Strict):
    """Where a sensor record keeps its time, its entity and its channels."""

    time: TimeField = TimeField()
    """When it was measured."""
    entity: SourceColumn | None = None
    """Column that names the machine; left out, the stream is one machine."""
    channels: tuple[Channel, ...] = Field(min_length=1, max_length=1000)
    """What is measured."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names: list[tuple[str, _Place]] = [
            (c.name, ("channels", i, "name")) for i, c in enumerate(self.channels)
        ]
        _check_names(names, RESERVED, "give it another name, and say where it is found by `column`")
        columns: list[tuple[str, str, _Place]] = [(self.time.column, "time", ("time", "column"))]
        columns += [(self.entity, "entity", ("entity",))] if self.entity else []
        for i, c in enumerate(self.channels):
            where = ("channels", i, "column" if c.column else "name")
            columns.append((c.source_column, f"channel {c.name}", where))
        _check_columns(columns)
        return self


class TransactionFields(Strict):
    """Where a transaction keeps its parts."""

    id: SourceColumn
    """Column that tells one transaction from another; a second one with the same id is dropped."""
    time: TimeField = TimeField()
    """When it was made."""
    entity: SourceColumn
    """Column that names the card, account or seller whose history is learned."""
    amount: SourceColumn
    """Column of the amount."""
    unit: str = Field(default="", max_length=32)
    """Currency of `amount`, for people."""
    low: float | None = None
    """Limit of your own: an amount below it is an anomaly of kind `range`."""
    high: float | None = None
    """Limit of your own: an amount above it is an anomaly of kind `range`."""
    categories: tuple[Column, ...] = ()
    """Categorical columns: terminal, merchant, country, type."""
    label: SourceColumn | None = None
    """Column of what became known later: 0 is honest, above is fraud, empty is unknown. May be left out."""
    label_delay: Positive = timedelta(days=7)
    """How long after a transaction its label is known; a younger one is not looked at."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        _check_order(("low", self.low), ("high", self.high))
        names: list[tuple[str, _Place]] = [(c, ("categories", i)) for i, c in enumerate(self.categories)]
        _check_names(names, RESERVED | {"pace", "label"}, "rename the column in the source")
        columns: list[tuple[str, str, _Place]] = [
            (self.id, "id", ("id",)),
            (self.time.column, "time", ("time", "column")),
            (self.entity, "entity", ("entity",)),
            (self.amount, "amount", ("amount",)),
        ]
        columns += [(self.label, "label", ("label",))] if self.label else []
        _check_columns(columns + [(c, f"category {c}", where) for c, where in names])
        return self
