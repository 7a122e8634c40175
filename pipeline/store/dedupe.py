"""Which records are new. In: a batch, and the table. Out: a mask, the first of each key not stored yet.

Sensor keys, (entity, time), are looked up in the files whose times overlap the batch's; transaction ids in
all files whose ids may be among the batch's. Exact, and only key columns are read, some at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from numpy.typing import NDArray

from pipeline.store.delta import between, conjoin, dataset

Mask = NDArray[np.bool_]
Keys = NDArray[np.int64]

_ROWS = 2_000_000  # stored keys compared at once: bounds memory
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def new_readings(records: pa.Table, table: DeltaTable | None) -> Mask:
    """Return which sensor records are the first of their entity and time."""
    if not len(records):
        return np.zeros(0, bool)
    entities = pc.unique(records["entity"])
    keys = _Pairs(entities, microseconds(records))
    own = keys.of(records)
    fresh = _first(own)
    if table is not None:
        for stored in _overlapping(table, entities, keys):
            fresh &= ~np.isin(own, keys.of(stored))
    return fresh


def new_ids(records: pa.Table, table: DeltaTable | None) -> Mask:
    """Return which transactions are the first with their id, in the whole table."""
    ids = records["id"].combine_chunks()
    if not len(ids):
        return np.zeros(0, bool)
    distinct = pc.unique(ids)
    fresh = np.ones(len(ids), bool) if len(distinct) == len(ids) else _first(codes(ids, distinct))
    if table is not None:
        for stored in _pieces(table, ["id"], names_between("id", ids), None):
            met = pc.unique(stored["id"].filter(pc.is_in(stored["id"], value_set=distinct)))
            if len(met):
                fresh &= ~pc.is_in(ids, value_set=met).to_numpy(zero_copy_only=False)
    return fresh


class _Pairs:
    """Entity and time as one integer, for the entities and the span of times of a batch."""

    def __init__(self, entities: pa.Array, micros: Keys) -> None:
        self.entities = entities
        self.first, self.last = int(micros.min()), int(micros.max())
        span = self.last - self.first + 1
        self.fits = span * len(entities) < 2**62
        self.times = np.empty(0, np.int64) if self.fits else np.unique(micros)

    def of(self, rows: pa.Table) -> Keys:
        """Return the key of each row; -1 for rows of other entities or times."""
        code, micros = codes(rows["entity"], self.entities), microseconds(rows)
        if self.fits:
            offset, known = micros - self.first, (micros >= self.first) & (micros <= self.last)
        else:
            offset = np.minimum(np.searchsorted(self.times, micros), len(self.times) - 1)
            known = self.times[offset] == micros
        return np.where(known & (code >= 0), offset * len(self.entities) + code, -1)


def _overlapping(table: DeltaTable, entities: pa.Array, keys: _Pairs) -> Iterator[pa.Table]:
    start, end = (_EPOCH + timedelta(microseconds=t) for t in (keys.first, keys.last + 1))
    sql, times = between(start, end)
    days = (pc.field("date") >= start.date()) & (pc.field("date") <= end.date())
    # entities only choose files: texts in files of a Delta MERGE are views, which Arrow's filters refuse
    near = f"{sql} AND {names_between('entity', entities)}"
    yield from _pieces(table, ["entity", "time"], near, conjoin([days, times]))


def _pieces(
    table: DeltaTable, columns: list[str], sql: str | None, filters: pc.Expression | None
) -> Iterator[pa.Table]:
    """Yield stored rows, some at a time."""
    held: list[pa.RecordBatch] = []
    for batch in dataset(table, sql).to_batches(columns=columns, filter=filters):
        held.append(batch)
        if sum(b.num_rows for b in held) >= _ROWS:
            yield pa.Table.from_batches(held)
            held = []
    if held:
        yield pa.Table.from_batches(held)


def _first(keys: Keys) -> Mask:
    """Return which keys are the first of their value."""
    fresh = np.ones(len(keys), bool)
    if (np.diff(keys) > 0).all():
        return fresh
    ordered = np.sort(keys)
    if (ordered[1:] != ordered[:-1]).all():
        return fresh
    order = np.argsort(keys, kind="stable")
    fresh[order[1:][keys[order[1:]] == keys[order[:-1]]]] = False
    return fresh


def codes(values: pa.Array | pa.ChunkedArray, known: pa.Array) -> Keys:
    """Return each value's place among `known`, -1 where it is not among them."""
    found = pc.fill_null(pc.index_in(values, value_set=known), -1)
    return np.asarray(found.to_numpy(), np.int64)


def microseconds(rows: pa.Table) -> Keys:
    """Return each row's time as microseconds since 1970, UTC."""
    return np.asarray(rows["time"].cast(pa.int64()).to_numpy(), np.int64)


def names_between(column: str, texts: pa.Array) -> str:
    """Return what a file's statistics must allow for it to hold one of `texts`."""
    low, high = (value.as_py().replace("'", "''") for value in pc.min_max(texts).values())
    return f"{column} >= '{low}' AND {column} <= '{high}'"
