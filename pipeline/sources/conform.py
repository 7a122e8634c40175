"""From source columns to records: every column checked and typed, every row that breaks the schema explained.

In: Arrow columns of any type by source name. Out: records as `schemas.records(stream)`, which rows they are,
and for each other row the first thing wrong with it: field, value, what was expected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schemas
from pipeline.config.models import SensorStream, Stream
from pipeline.sources.numeric import Mask, numbers
from pipeline.sources.texts import LONGEST, texts
from pipeline.sources.times import TimeReader
from pipeline.sources.wanted import Wanted, wanted

AHEAD = timedelta(days=1)  # how far a clock may be ahead of ours before we doubt its record
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Columns = Mapping[str, pa.Array]
Fault = tuple[Mask, Callable[[int], str]]  # rows that are wrong, and how to say so


@dataclass(frozen=True)
class Conformed:
    """`records` are the rows of `good`, in order; `faults` explain the others, first one first."""

    records: pa.Table
    good: Mask
    faults: list[Fault]

    def reasons(self) -> dict[int, str]:
        """Return what is wrong with each row that is not a record."""
        found: dict[int, str] = {}
        for wrong, say in self.faults:
            for row in np.flatnonzero(wrong):
                if int(row) not in found:
                    found[int(row)] = say(int(row))
        return found


class Conformer:
    """Turns columns of a source into records of one stream."""

    def __init__(self, stream: Stream) -> None:
        self.wanted = wanted(stream)
        self.schema = schemas.records(stream)
        self._stream = stream
        self._times = TimeReader(stream.fields.time)

    def __call__(self, columns: Columns, rows: int, now: datetime) -> Conformed:
        """Check `rows` rows; `now` (aware) decides what is in the future."""
        faults: list[Fault] = []
        made = {w.name: self._column(w, columns[w.column], now, faults) for w in self.wanted}
        if isinstance(self._stream, SensorStream):
            faults += _all_missing([made[c] for c in self._stream.channels])
            made.setdefault("entity", pa.repeat(pa.scalar(self._stream.name), rows))
        good = np.ones(rows, bool)
        for wrong, _ in faults:
            good &= ~wrong
        table = pa.Table.from_arrays([made[name] for name in self.schema.names], schema=self.schema)
        return Conformed(table if good.all() else table.filter(pa.array(good)), good, faults)

    def _column(self, want: Wanted, column: pa.Array, now: datetime, faults: list[Fault]) -> pa.Array:
        column = plain(column, dictionary=want.textual)
        show = partial(_show, column)
        make = self._time if want.role == "time" else _text if want.textual else _number
        values, found = make(want, column, now, show)
        faults += [(wrong, say) for wrong, say in found if wrong.any()]
        return values

    def _time(
        self, want: Wanted, column: pa.Array, now: datetime, show: Callable[[int], str]
    ) -> tuple[pa.Array, list[Fault]]:
        times, name = self._times.read(column), want.column
        latest = (now + AHEAD - _EPOCH) // timedelta(microseconds=1)
        early, late = times.micros < 0, times.micros > latest
        return pa.array(times.micros).cast(schemas.TIME), [
            (times.missing, lambda _: f"{name}: missing; expected {self._times.expected}"),
            (times.wrong, lambda i: f"{name}: {show(i)} is not a time; expected {self._times.expected}"),
            (early, lambda i: f"{name}: {show(i)} is before 1970"),
            (
                late,
                lambda i: f"{name}: {show(i)} is in the future, more than a day after {now:%Y-%m-%dT%H:%MZ}",
            ),
        ]


def plain(column: pa.Array, *, dictionary: bool) -> pa.Array:
    """Return a column without the variants of text types; `dictionary` says whether those of strings stay."""
    kind = column.type
    if pa.types.is_dictionary(kind) and not (dictionary and pa.types.is_string(kind.value_type)):
        return plain(column.dictionary_decode(), dictionary=dictionary)
    variant = pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return column.cast(pa.string()) if variant else column


def _text(
    want: Wanted, column: pa.Array, _: datetime, show: Callable[[int], str]
) -> tuple[pa.Array, list[Fault]]:
    found, name = texts(column), want.column
    faults: list[Fault] = [
        (
            found.wrong,
            lambda i: f"{name}: {show(i)} is no name; expected text of at most {LONGEST} characters",
        )
    ]
    if want.role == "name":
        faults.append((found.missing, lambda _: f"{name}: missing; expected text"))
    return found.values, faults


def _number(
    want: Wanted, column: pa.Array, _: datetime, show: Callable[[int], str]
) -> tuple[pa.Array, list[Fault]]:
    found, name = numbers(column), want.column
    faults: list[Fault] = [
        (found.wrong, lambda i: f"{name}: {show(i)} is not a finite number"),
        *_outside(want, found.values, show),
    ]
    if want.role == "amount":
        faults.append((found.missing, lambda _: f"{name}: missing; expected a number"))
    return found.values, faults


def _outside(want: Wanted, values: pa.Array, show: Callable[[int], str]) -> Iterator[Fault]:
    if want.low is not None:
        below = pc.fill_null(pc.less(values, want.low), False).to_numpy(zero_copy_only=False)
        yield below, lambda i: f"{want.column}: {show(i)} is below {want.low:g}, the least it can be"
    if want.high is not None:
        above = pc.fill_null(pc.greater(values, want.high), False).to_numpy(zero_copy_only=False)
        yield above, lambda i: f"{want.column}: {show(i)} is above {want.high:g}, the most it can be"


def _all_missing(channels: list[pa.Array]) -> list[Fault]:
    if not all(c.null_count for c in channels):
        return []
    gone = np.logical_and.reduce([c.is_null().to_numpy(zero_copy_only=False) for c in channels])
    return [(gone, lambda _: "every channel is missing; expected at least one reading")] if gone.any() else []


def python_value(scalar: pa.Scalar) -> Any:
    """Return a scalar as Python says it; a time beyond its calendar as the bare number."""
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):
        return scalar.value


def _show(column: pa.Array, row: int) -> str:
    value = python_value(column[row])
    text = value.isoformat() if hasattr(value, "isoformat") else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
