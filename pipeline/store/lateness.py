"""Which records are late: older than what is stored of their entity already.

In: records, and the table they come to. Out: by entity, how far it had come. Each entity has its own
watermark, the newest time stored of it: a machine that lags behind the others is not late.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from numpy.typing import NDArray

from pipeline.schemas import TIME
from pipeline.store import delta
from pipeline.store.dedupe import codes, microseconds, names_between

_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Arrival:
    """What came of one entity: the oldest time of it that is not too late, and whether that is late."""

    first: datetime
    late: bool


def count(records: pa.Table, table: DeltaTable, lateness: timedelta) -> tuple[int, int]:
    """Return how many records are late, and how many of them by more than `lateness`."""
    behind = _behind(records, _newest(table, _firsts(records), None))
    return int((behind > 0).sum()), int((behind > lateness // _INSTANT).sum())


def arrivals(table: DeltaTable, schema: pa.Schema, lateness: timedelta, *, after: int) -> dict[str, Arrival]:
    """Return what batches later than `after` brought, by entity; nothing of one where all is too late."""
    new = delta.dataset(table, f"batch > {after}", schema)
    came = new.to_table(columns=["entity", "time"], filter=pc.field("batch") > after)
    newest = _newest(table, _firsts(came), after)
    in_time = came.filter(pa.array(_behind(came, newest) <= lateness // _INSTANT))
    return {
        entity: Arrival(first, first < newest.get(entity, first))
        for entity, first in _firsts(in_time).items()
    }


def _behind(records: pa.Table, newest: Mapping[str, datetime]) -> NDArray[np.int64]:
    """Return by how many microseconds each record is older than the newest of its entity; 0 if it is not."""
    if not newest:
        return np.zeros(len(records), np.int64)
    reached = pa.table({"time": pa.array(newest.values(), TIME)})
    code = codes(records["entity"], pa.array(newest, pa.string()))
    late = np.where(code >= 0, microseconds(reached)[code] - microseconds(records), 0)
    return np.maximum(late, 0)


def _firsts(records: pa.Table) -> dict[str, datetime]:
    found = records.group_by("entity").aggregate([("time", "min")])
    return dict(zip(found["entity"].to_pylist(), found["time_min"].to_pylist(), strict=True))


def _newest(table: DeltaTable, firsts: Mapping[str, datetime], until: int | None) -> dict[str, datetime]:
    """Return the newest stored time of those entities that have one after their first of `firsts`.

    `until` leaves out batches later than it. Only files whose times and entities may matter are read.
    """
    if not firsts:
        return {}
    entities = pa.array(firsts, pa.string())
    sql, times = delta.between(min(firsts.values()), None)
    batches = None if until is None else pc.field("batch") <= until
    found = delta.dataset(table, f"{sql} AND {names_between('entity', entities)}")
    newest: dict[str, datetime] = {}
    for batch in found.to_batches(columns=["entity", "time"], filter=delta.conjoin([times, batches])):
        mine = pa.Table.from_batches([batch.filter(pc.is_in(batch["entity"], value_set=entities))])
        tops = mine.group_by("entity").aggregate([("time", "max")])
        for entity, top in zip(tops["entity"].to_pylist(), tops["time_max"].to_pylist(), strict=True):
            if top > firsts[entity]:
                newest[entity] = max(top, newest.get(entity, top))
    return newest
