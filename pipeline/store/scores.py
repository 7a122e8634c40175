"""A stream's scores: one row for each record and model version, in a Delta table.

In: scored rows. Out: the same rows stored once, however often and by however many runs they are written.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from pipeline.errors import Conflict, DataError
from pipeline.schemas import SCORES
from pipeline.store import delta
from pipeline.store.compare import KEY, matched, unlike
from pipeline.store.delta import guard
from pipeline.store.sorting import in_order

APP = "offbeat.scores"  # of two writers at once one commits; the other looks again, so nothing is doubled
PATIENCE = timedelta(minutes=2)
_SAME_ROW = (
    "t.date = s.date AND t.version = s.version AND t.entity = s.entity AND t.time = s.time"
    " AND t.id IS NOT DISTINCT FROM s.id"
)


@dataclass(frozen=True)
class Written:
    """What a write found: rows that were new, rows that replaced others, rows that were there already."""

    added: int = 0
    changed: int = 0
    same: int = 0


class ScoreStore:
    """One stream's scores. Holds no connection: open it anywhere, as often as needed."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def write(self, rows: pa.Table) -> Written:
        """Store scores; rows that are there already, numbers within 1e-6, are not written again.

        Any number of writers may write at once: each looks again after another committed.

        Args:
            rows: of schema `schemas.SCORES`, each (entity, time, id, version) once.

        Raises:
            Conflict: others kept committing first for two minutes.
            DataError: a row is given twice, or the columns are not those of scores.
        """
        rows = _checked(rows)
        if not len(rows):
            return Written()
        until, wait = time.monotonic() + PATIENCE.total_seconds(), 0.01
        while True:
            try:
                with guard(f"writing scores to {self.uri}"):
                    return self._write(rows)
            except Conflict:
                if time.monotonic() > until:
                    raise
            time.sleep(random.uniform(0, wait))  # noqa: S311 - spreads writers, guards nothing
            wait = min(2 * wait, 1.0)

    def read(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        version: int | None = None,
        entities: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """Return scores with `start <= time < end` (aware; None is open), by entity, time, id and version."""
        schema = pa.schema([SCORES.field(n) for n in columns or SCORES.names])
        table = delta.find(self.uri)
        if table is None:
            return schema.empty_table()
        with guard(f"reading {self.uri}"):
            sql, times = delta.between(start, end)
            found = delta.scan(
                delta.dataset(table, sql, SCORES),
                [*dict.fromkeys([*schema.names, *KEY])],
                delta.conjoin([times, _of_version(version)]),
                {"entity": None if entities is None else pa.array(entities, pa.string())},
            )
            return in_order(found, schema, ("id", "version"))

    def latest(self, version: int) -> dict[str, datetime]:
        """Return the newest time that model `version` scored, for each entity, UTC."""
        newest: dict[str, datetime] = {}
        with guard(f"reading {self.uri}"):
            for batch in self._batches(version):
                tops = pa.Table.from_batches([batch]).group_by("entity").aggregate([("time", "max")])
                for entity, top in zip(*(tops[c].to_pylist() for c in ("entity", "time_max")), strict=True):
                    newest[entity] = max(top, newest.get(entity, top))
        return newest

    def version(self) -> int:
        """Return the Delta version of the table, -1 where there is none yet."""
        table = delta.find(self.uri)
        return table.version() if table else -1

    def maintain(self, *, now: datetime, keep: timedelta) -> dict[str, int]:
        """Drop what is older than `keep`, compact and vacuum; return what was done."""
        table = delta.find(self.uri)
        if table is None:
            return {}
        with guard(f"tending {self.uri}"):
            return delta.tend(table, now=now, keep=keep)

    def _batches(self, version: int) -> Iterator[pa.RecordBatch]:
        if table := delta.find(self.uri):
            yield from delta.dataset(table).to_batches(
                columns=["entity", "time"], filter=_of_version(version)
            )

    def _write(self, rows: pa.Table) -> Written:
        table = delta.make(self.uri, SCORES, "scores")
        stored = _near(table, rows)
        new, old = matched(rows, stored)
        found = rows.take(new)
        differs = unlike(found, stored.take(old))
        changed = found.filter(differs)
        missing = pc.invert(pc.is_in(pa.array(range(len(rows)), pa.int64()), value_set=new))
        added = rows.filter(missing)
        if len(changed):
            _merge(table, pa.concat_tables([added, changed]))
        elif len(added):
            delta.append(table, added, delta.stamp(app=APP, version=table.version() + 1))
        return Written(len(added), len(changed), len(found) - len(changed))


def newest(table: pa.Table, best: int | None = None) -> pa.Table:
    """Keep each row's score by version `best`, or else by the newest version that scored it."""
    if len(pc.unique(table["version"])) <= 1:
        return table
    keys = ["entity", "time", "id"]
    frame = table.select([*keys, "version"]).to_pandas()
    frame["rank"] = frame["version"].where(frame["version"] != best, sys.maxsize)
    frame = frame.sort_values("rank", kind="stable")
    return table.take(frame.drop_duplicates(keys, keep="last").index.sort_values().to_numpy())


def _checked(rows: pa.Table) -> pa.Table:
    try:
        rows = rows.select(SCORES.names).cast(SCORES)
    except (KeyError, ValueError, pa.ArrowException) as error:
        raise DataError(f"these are no scores: {error}") from error
    if len(rows.group_by(list(KEY)).aggregate([])) != len(rows):
        raise DataError("the same record and version is scored twice in one write")
    return rows


def _near(table: DeltaTable, rows: pa.Table) -> pa.Table:
    """Return the stored rows that may be among `rows`."""
    low, high = (value.as_py() for value in pc.min_max(rows["time"]).values())
    sql, times = delta.between(low, high + timedelta(microseconds=1))
    entities, versions = pc.unique(rows["entity"]), pc.unique(rows["version"])
    where = delta.conjoin([times, pc.field("version").isin(versions)])
    return delta.scan(delta.dataset(table, sql, SCORES), SCORES.names, where, {"entity": entities})


def _merge(table: DeltaTable, rows: pa.Table) -> Any:
    """Replace and add rows in one commit; only the days they are of are looked at."""
    low, high = (value.as_py().isoformat() for value in pc.min_max(rows["date"]).values())
    merge = table.merge(
        rows,
        f"t.date >= '{low}' AND t.date <= '{high}' AND {_SAME_ROW}",
        source_alias="s",
        target_alias="t",
        writer_properties=delta.WRITER,
        commit_properties=delta.stamp(app=APP, version=table.version() + 1),
    )
    return merge.when_matched_update_all().when_not_matched_insert_all().execute()


def _of_version(version: int | None) -> pc.Expression | None:
    return None if version is None else pc.field("version") == version
