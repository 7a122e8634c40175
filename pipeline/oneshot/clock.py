"""A table's time, whatever it is written as, and the grid that fits it.

In: a column of timestamps, dates, ISO 8601 text, seconds to nanoseconds since 1970, or a mere counter; or
none. Out: `Clock`, a number per row; and `Grid`, the cell of each row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.config.models import TimeField, parse_time
from pipeline.errors import DataError
from pipeline.sources.times import TimeReader

Ints = NDArray[np.int64]
Numbers = NDArray[np.int64] | NDArray[np.float64]

EPOCH_FROM = 10**8  # seconds: 1973; smaller numbers are counters
REGULAR = 0.9  # of spacings are whole steps, within SLACK: rows then keep a cell each, jitter or not
SLACK = 0.35
LONGEST_STEP = timedelta(days=3650)
_PER_UNIT = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
_BELOW = (1e11, 1e14, 1e17)  # where one unit since 1970 ends and the next begins
_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Clock:
    """When each row was [N], in units of `micros` microseconds; a counter's unit counts as a second."""

    value: Numbers
    micros: float
    real: bool
    """Whether it is a time of day and year, not a counter."""
    numbers: bool = True
    """Whether the table has it as numbers."""

    def read(self, text: str, role: str) -> float:
        """Read a moment as a person wrote it, in the clock's units.

        Raises:
            DataError: it is none; says what was expected.
        """
        if self.numbers and math.isfinite(number := _float(text)):
            return number
        if not self.real:
            raise DataError(f"{role}: {text!r} is no number; expected one, as in the time column")
        try:
            return (parse_time(text) - _EPOCH) / _MICROSECOND / self.micros
        except (ValueError, OverflowError):
            raise DataError(
                f"{role}: {text!r} is no time; expected one such as 2026-03-01 or 2026-03-01T06:00+01:00"
            ) from None


@dataclass(frozen=True)
class Grid:
    """The regular grid that fits a table: its step, and the cell of each row [N]."""

    step: timedelta
    cell: Ints

    @property
    def time(self) -> Ints:
        """Start of each row's cell, microseconds [N]."""
        return self.cell * (self.step // _MICROSECOND)


def clock(table: pa.Table, name: str | None, entity: Ints) -> Clock:
    """Read the time of every row.

    Args:
        table: the rows.
        name: its column of time; None: the row's number among those of its entity.
        entity: a code for each row's entity [N].

    Raises:
        DataError: a time is missing or is none; says where, and what was expected.
    """
    if name is None:
        return Clock(_numbered(entity), 1e6, real=False)
    column = _whole(table.column(name))
    kind = column.type
    if pa.types.is_boolean(kind):
        raise DataError(f"--time: column {name!r} holds true and false; expected times or numbers")
    if pa.types.is_timestamp(kind):
        _refuse_missing(column, name)
        value = column.cast(pa.int64()).to_numpy(zero_copy_only=False)
        return Clock(np.asarray(value, np.int64), _PER_UNIT[kind.unit], real=True, numbers=False)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        _refuse_missing(column, name)
        return _counted(column, name)
    return _written(column, name)


def fit_grid(clock: Clock, entity: Ints) -> Grid:
    """Choose the step that rows usually have within an entity, and place each row.

    Where rows are regular but for jitter and gaps, rows of different times never share a cell: an exactly
    regular table has one row a cell. Where they are not, a cell is what lies between two steps.

    Raises:
        DataError: no row is later than another.
    """
    order = np.lexsort((clock.value, entity))
    value, code = clock.value[order], entity[order]
    inside = code[1:] == code[:-1]
    gap = np.diff(value)
    spacing = gap[inside & (gap > 0)]
    if not len(spacing):
        raise DataError(
            "all rows of an entity have the same time: leave --time out to go by row numbers, "
            "or name the column that tells entities apart by --entity"
        )
    step = np.partition(spacing, (len(spacing) - 1) // 2)[(len(spacing) - 1) // 2].item()
    _check_step(step, clock)
    whole = np.maximum(np.rint(gap / step), 1)
    off = np.abs(spacing / step - np.maximum(np.rint(spacing / step), 1))
    cell = np.empty(len(value), np.int64)
    if np.mean(off <= SLACK) >= REGULAR:
        cell[order] = _counted_on(value, step, inside, np.where(gap > 0, whole, 0))
    else:
        cell[order] = np.floor_divide(value, step).astype(np.int64)
    micros = max(1, round(step * clock.micros))
    return Grid(micros * _MICROSECOND, cell)


def _counted_on(value: Numbers, step: float, inside: NDArray[np.bool_], whole: NDArray[np.float64]) -> Ints:
    """Place each row so many whole steps after the one before it, entity by entity."""
    first = np.append(True, ~inside)
    steps = np.append(0, np.where(inside, whole, 0)).astype(np.int64)
    gone = np.cumsum(steps)
    begin = np.flatnonzero(first)
    origin = np.rint(value[begin] / step).astype(np.int64) - gone[begin]
    return gone + np.repeat(origin, np.diff(np.append(begin, len(value))))


def _check_step(step: float, clock: Clock) -> None:
    if step * clock.micros * _MICROSECOND > LONGEST_STEP:
        raise DataError("the rows lie more than ten years apart: is --time the column of times?")


def _numbered(entity: Ints) -> Ints:
    order = np.argsort(entity, kind="stable")
    begin = np.searchsorted(entity[order], entity[order])
    number = np.empty(len(entity), np.int64)
    number[order] = np.arange(len(entity)) - begin
    return number


def _counted(column: pa.Array, name: str) -> Clock:
    whole = pa.types.is_integer(column.type)
    value: Numbers = np.asarray(
        column.cast(pa.int64() if whole else pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    )
    if not whole and not np.isfinite(value).all():
        row = int(np.flatnonzero(~np.isfinite(value))[0])
        raise DataError(f"--time: {name} is no finite number in row {row + 1}; mend it or drop the row")
    size = float(np.median(np.abs(value)))
    if size < EPOCH_FROM:
        return Clock(value, 1e6, real=False)
    return Clock(value, (1e6, 1e3, 1.0, 1e-3)[int(np.searchsorted(_BELOW, size, side="right"))], real=True)


def _written(column: pa.Array, name: str) -> Clock:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    reader = TimeReader(TimeField(column="time"))
    if not (pa.types.is_string(column.type) or pa.types.is_date(column.type)):
        raise DataError(f"--time: column {name!r} holds {column.type}; expected {reader.expected}")
    times = reader.read(column)
    for bad, what in ((times.missing, "is missing"), (times.wrong, "is no time")):
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            shown = f", {column[row].as_py()!r} in row {row + 1} for one" if what == "is no time" else ""
            raise DataError(
                f"--time: {name} {what} in {int(bad.sum()):,} rows{shown or f', row {row + 1} for one'}; "
                f"expected {reader.expected}"
            )
    return Clock(times.micros, 1.0, real=True, numbers=False)


def _refuse_missing(column: pa.Array, name: str) -> None:
    if column.null_count:
        row = int(np.flatnonzero(pc.is_null(column).to_numpy(zero_copy_only=False))[0])
        raise DataError(
            f"--time: {name} is missing in {column.null_count:,} rows, row {row + 1} for one; "
            "drop them, or leave --time out to go by row numbers"
        )


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
