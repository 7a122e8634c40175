"""The regular UTC grid: cell k of a grid is [k·step, (k+1)·step), labelled by its start.

In: readings in any order, with duplicates and holes. Out: observed cells, then rows without holes:
the last value held a few steps, masked beyond that, and cut where nothing was heard for long.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.errors import DataError
from pipeline.prepare import columns
from pipeline.prepare.series import Bools, Floats, Ints

MOST_VALUES = 400_000_000
"""Rows times channels that one call will lay out: beyond it the step does not fit the data."""


@dataclass(frozen=True)
class Cells:
    """Observed cells in order of entity and time; a cell in which nothing was measured is not one."""

    entities: list[str]
    entity: Ints
    """Index into entities [G]."""
    cell: Ints
    """Number of the cell since the epoch [G]."""
    values: Floats
    """[G, C]; NaN where the channel was not measured."""


@dataclass(frozen=True)
class Segment:
    """Rows of one entity without holes."""

    entity: str
    cell: Ints
    values: Floats
    """[T, C]; NaN beyond the hold."""


def observe(
    table: pa.Table,
    channels: tuple[str, ...],
    step: int,
    aggregate: str,
    *,
    start: int | None = None,
    until: int | None = None,
) -> Cells:
    """Aggregate readings into the cells of a grid with `step` microseconds.

    Args:
        table: columns `entity`, `time` and the channels; a channel without a column is never measured.
        channels: their names.
        step: microseconds.
        aggregate: mean, last, min or max of a cell's readings; NaN counts as not measured.
        start: cells that begin before it are left out.
        until: cells that end after it, which are not complete yet, are left out.
    """
    code, names = columns.coded(table, "entity")
    time = columns.micros(table)
    order = _time_order(code, time)
    code, time = code[order], time[order]
    cell = time // step
    keep = _complete(cell, step, start, until)
    code, time, cell = code[keep], time[keep], cell[keep]
    moment, group = _edges(code, time), _edges(code, cell)
    values = np.empty((len(group), len(channels)))
    for c, name in enumerate(channels):
        readings = columns.floats(table, name)[order][keep]
        once, edges = _once(readings, moment, group)
        values[:, c] = _aggregate(once, edges, aggregate)
    measured = ~np.isnan(values).all(axis=1)
    group = group[measured]
    return Cells(names, code[group], cell[group], values[measured])


def segments(cells: Cells, hold: int, reach: int, last: int | None = None) -> Iterator[Segment]:
    """Lay observed cells out as rows without holes.

    A row exists for every cell that is at most `reach` cells after an observed one, up to cell `last`
    (the newest observed one when left out). That depends on the past alone, so that a slice has the
    same rows as the whole; where an entity is silent for longer, its next reading begins a new segment.
    A channel keeps its last value for `hold` cells.
    """
    if not len(cells.cell):
        return
    last = int(cells.cell.max()) if last is None else last
    first, following = _neighbours(cells, last)
    count = np.minimum(following - cells.cell, reach + 1)
    begins = np.cumsum(count) - count
    source = np.repeat(np.arange(len(count)), count)
    _check_size(len(source), cells)
    offset = np.arange(len(source)) - begins[source]
    starts = begins[first | np.append(True, (following - cells.cell > reach + 1)[:-1])]
    values = _held(cells.values, source, offset, starts, hold)
    cell = cells.cell[source] + offset
    for begin, end in zip(starts, np.append(starts[1:], len(source)), strict=True):
        yield Segment(cells.entities[cells.entity[source[begin]]], cell[begin:end], values[begin:end])


def _time_order(code: Ints, time: Ints) -> Ints | slice:
    later = (code[1:] > code[:-1]) | ((code[1:] == code[:-1]) & (time[1:] > time[:-1]))
    return slice(None) if later.all() else np.lexsort((time, code))


def _complete(cell: Ints, step: int, start: int | None, until: int | None) -> Bools:
    keep = np.ones(len(cell), dtype=np.bool_)
    if start is not None:
        keep &= cell >= -(-start // step)
    if until is not None:
        keep &= cell < until // step
    return keep


def _edges(code: Ints, key: Ints) -> Ints:
    if not len(code):
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(np.append(True, (code[1:] != code[:-1]) | (key[1:] != key[:-1])))


def _once(readings: Floats, moment: Ints, group: Ints) -> tuple[Floats, Ints]:
    """Make several readings of one moment one: their largest, whichever order they came in."""
    if len(moment) == len(readings):
        return readings, group
    return np.fmax.reduceat(readings, moment), np.searchsorted(moment, group)


def _aggregate(readings: Floats, edges: Ints, how: str) -> Floats:
    if len(edges) == len(readings):
        return readings
    if how in {"min", "max"}:
        smallest_or_largest = np.fmin if how == "min" else np.fmax
        return np.asarray(smallest_or_largest.reduceat(readings, edges), dtype=np.float64)
    return _last(readings, edges) if how == "last" else _mean(readings, edges)


def _mean(readings: Floats, edges: Ints) -> Floats:
    missing = np.isnan(readings)
    count = np.add.reduceat((~missing).astype(np.int64), edges)
    total = np.add.reduceat(np.where(missing, 0.0, readings), edges)
    empty = np.full(len(edges), np.nan)
    return np.asarray(np.divide(total, count, out=empty, where=count > 0), dtype=np.float64)


def _last(readings: Floats, edges: Ints) -> Floats:
    newest = np.maximum.reduceat(np.where(np.isnan(readings), -1, np.arange(len(readings))), edges)
    return np.where(newest >= 0, readings[newest], np.nan)


def _neighbours(cells: Cells, last: int) -> tuple[Bools, Ints]:
    """Return where an entity begins, and the cell that ends each observed cell's wait."""
    changes = cells.entity[1:] != cells.entity[:-1]
    following = np.append(np.where(changes, last + 1, cells.cell[1:]), last + 1)
    return np.append(True, changes), following


def _check_size(rows: int, cells: Cells) -> None:
    if rows * cells.values.shape[1] > MOST_VALUES:
        raise DataError(
            f"the grid has {rows:,} rows for {len(cells.cell):,} observed ones: choose a longer "
            "grid.step or a shorter window.length, or prepare fewer entities at once"
        )


def _held(values: Floats, source: Ints, offset: Ints, starts: Ints, hold: int) -> Floats:
    row = np.arange(len(source))
    begin = np.repeat(starts, np.diff(np.append(starts, len(source))))
    oldest = np.maximum(begin, row - hold)
    fresh = np.where(offset == 0, source, -1)
    laid = np.empty((len(source), values.shape[1]))
    for c in range(values.shape[1]):
        column = values[:, c]
        newest = np.maximum.accumulate(np.where((fresh >= 0) & ~np.isnan(column[source]), row, -1))
        laid[:, c] = np.where(newest >= oldest, column[source[newest]], np.nan)
    return laid
