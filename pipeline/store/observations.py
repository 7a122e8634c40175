"""A stream's observations and rejects: Delta tables, and in their commits how far its source was read.

In: batches of a source. Out: stored records, each once, and the state to read on from. Rows and position are
one commit: after a crash anywhere, reading on from the state loses nothing and doubles nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from pipeline import schemas
from pipeline.config.models import Stream
from pipeline.errors import Conflict, DataError
from pipeline.store import delta, lateness, rejects, state
from pipeline.store.dedupe import new_ids, new_readings
from pipeline.store.delta import guard
from pipeline.store.lateness import Arrival
from pipeline.store.pieces import pieces
from pipeline.store.sorting import in_order
from pipeline.store.state import State, Totals

__all__ = ["Arrival", "ObservationStore", "State", "Totals"]

TRIES = 20  # of storing what was read again, while a live ingest commits


class ObservationStore:
    """One stream's observations and rejects. Holds no connection: open it anywhere, as often as needed."""

    def __init__(self, stream: Stream, observations: str, rejects: str) -> None:
        self.stream = stream
        self.observations, self.rejected = observations, rejects
        self._schema = schemas.observations(stream)

    def state(self) -> State:
        """Return where ingest stands; the beginning where nothing was ingested yet."""
        table = delta.find(self.observations)
        with guard(f"reading the state of {self.stream.name}"):
            return state.read(table) if table else State()

    def version(self) -> int:
        """Return the Delta version of the observations, -1 where there are none yet."""
        table = delta.find(self.observations)
        return table.version() if table else -1

    def append(
        self, before: State, records: pa.Table, rejected: pa.Table, received: int, position: Mapping[str, Any]
    ) -> State:
        """Store one batch, and that the source was read up to `position`.

        1. Refuse a batch that does not add up, and one that follows another state than the stored one.
        2. Drop records that are stored already, or twice in the batch (the first stays), and count them.
        3. Append rejects that are not there yet, by id: a crash after this step doubles none of them.
        4. Commit records, position and totals at once, as application transaction `batch`.

        Args:
            before: the state the batch was read from.
            records: of schema `schemas.records(stream)`.
            rejected: of schema `schemas.REJECTS` without `batch`; further columns are kept.
            received: how many the source gave: records and rejects together.
            position: where the source stands after them; JSON-able.

        Returns:
            The new state; `before` itself where there was nothing to say.

        Raises:
            Conflict: another ingest committed first. Nothing is lost: read on from its state.
            DataError: the batch or the table's columns do not fit the stream.
            Unavailable: the disk or the object store fails.
        """
        if received != len(records) + len(rejected):
            raise DataError(f"{received} received, but {len(records)} records and {len(rejected)} rejects")
        if not received and position == before.position:
            return before
        with guard(f"ingesting {self.stream.name}"):
            table = self._table(before)
            fresh = self._fresh(records, table if before.batch else None)
            kept = records if fresh.all() else records.filter(pa.array(fresh))
            rejects.add(self.rejected, rejected, before.batch + 1)
            late, too_late = self._late(kept, table, before)
            totals = before.totals.plus(
                stored=len(kept),
                duplicate=len(records) - len(kept),
                rejected=len(rejected),
                late=late,
                too_late=too_late,
            )
            after = _after(before, totals, kept, position)
            commit = delta.stamp(after.metadata(), state.APP, after.batch)
            delta.append(table, self._rows(kept, after.batch), commit)
        return after

    def add(self, records: pa.Table) -> int:
        """Store those of some records that are not stored yet; return how many.

        For records of a source that is read again: its position stays, and what is known is not counted as
        received once more.

        Raises:
            Conflict: others kept committing first.
        """
        for _ in range(TRIES):
            before = self.state()
            table = delta.find(self.observations) if before.batch else None
            with guard(f"adding to {self.stream.name}"):
                fresh = self._fresh(records, table)
            missing = records.filter(pa.array(fresh))
            if not len(missing):
                return 0
            with suppress(Conflict):
                rejected = schemas.REJECTS.empty_table()
                self.append(before, missing, rejected, len(missing), before.position)
                return len(missing)
        raise Conflict(f"{self.stream.name}: other runs committed first {TRIES} times: run it again")

    def read(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        entities: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """Return stored records with `start <= time < end`, ordered by entity, then time.

        Args:
            start: aware; None is the beginning.
            end: aware; None is the end.
            entities: only these; None is all of them.
            columns: of `schemas.observations(stream)`; those of `schemas.records(stream)` by default.
        """
        names = columns or schemas.records(self.stream).names
        schema = pa.schema([self._schema.field(n) for n in names])
        table = delta.find(self.observations)
        if table is None:
            return schema.empty_table()
        with guard(f"reading {self.stream.name}"):
            self._check(table)
            found = self._scan(table, start, end, entities, schema.names)
            return in_order(found, schema, schemas.key(self.stream))

    def earliest(self, *, after: int) -> datetime | None:
        """Return the oldest time of what batches later than `after` brought; None if they brought nothing."""
        table = delta.find(self.observations)
        if table is None:
            return None
        with guard(f"reading {self.stream.name}"):
            found = delta.dataset(table, f"batch > {after}", self._schema)
            newest = found.to_table(columns=["time"], filter=pc.field("batch") > after)
            return pc.min(newest["time"]).as_py()  # type: ignore[no-any-return]

    def arrivals(self, *, after: int) -> dict[str, Arrival]:
        """Return, by entity, what batches later than `after` brought that may change scores."""
        table = delta.find(self.observations)
        if table is None:
            return {}
        with guard(f"reading {self.stream.name}"):
            return lateness.arrivals(table, self._schema, self.stream.lateness, after=after)

    def rejects(self, limit: int | None = None, reason: str | None = None) -> pa.Table:
        """Return rejects by source and position: at most `limit`, those whose reason holds `reason`."""
        return rejects.read(self.rejected, limit, reason)

    def reasons(self) -> dict[str, int]:
        """Return how many rejects there are by reason."""
        return rejects.reasons(self.rejected)

    def discard(self, ids: Sequence[str]) -> int:
        """Remove rejects by id; return how many there were."""
        return rejects.discard(self.rejected, ids)

    def pieces(self, start: datetime, end: datetime, rows: int) -> Iterator[tuple[datetime, datetime]]:
        """Yield ranges that cover [start, end), each of about `rows` records; none where there is none."""
        if table := delta.find(self.observations):
            with guard(f"reading {self.stream.name}"):
                yield from pieces(table, start, end, rows)

    def maintain(self, *, now: datetime, observations: timedelta, rejects: timedelta) -> dict[str, int]:
        """Drop what is older than that, compact and vacuum both tables; return what was done to which."""
        done: dict[str, int] = {}
        for name, uri, keep in (
            ("observations", self.observations, observations),
            ("rejects", self.rejected, rejects),
        ):
            if table := delta.find(uri):
                with guard(f"tending the {name} of {self.stream.name}"):
                    # the newest commit of observations always says how far the source was read
                    metadata = state.read(table).metadata() if name == "observations" else None
                    tended = delta.tend(table, now=now, keep=keep, metadata=metadata)
                done |= {f"{name}_{what}": count for what, count in tended.items()}
        return done

    def _table(self, before: State) -> DeltaTable:
        table = delta.make(self.observations, self._schema, f"observations of {self.stream.name}")
        self._check(table)
        batch = table.transaction_version(state.APP) or 0
        if batch != before.batch:
            raise Conflict(f"{self.stream.name} is at batch {batch}, this run began at {before.batch}")
        return table

    def _check(self, table: DeltaTable) -> None:
        """Refuse a table whose columns are of other types; channels may come and go."""
        stored = pa.schema(table.schema().to_arrow())
        for field in self._schema:
            at = stored.get_field_index(field.name)
            if at >= 0 and stored.field(at).type != field.type:
                raise DataError(
                    f"{self.stream.name}: column {field.name} is stored as {stored.field(at).type}, but the"
                    f" stream says {field.type}; give it another name, or move {self.observations} away"
                )
        if missing := [k for k in ("date", *schemas.key(self.stream)) if k not in stored.names]:
            raise DataError(f"{self.observations} is a table of something else: it has no {missing[0]}")

    def _fresh(self, records: pa.Table, table: DeltaTable | None) -> np.ndarray:
        seek = new_readings if schemas.key(self.stream) == ("entity", "time") else new_ids
        return seek(records, table)

    def _late(self, kept: pa.Table, table: DeltaTable, before: State) -> tuple[int, int]:
        oldest = pc.min(kept["time"]).as_py()
        if oldest is None or before.watermark is None or oldest >= before.watermark:
            return 0, 0
        return lateness.count(kept, table, self.stream.lateness)

    def _rows(self, records: pa.Table, batch: int) -> pa.Table:
        days = records["time"].cast(pa.date32())
        rows = records.append_column("date", days)
        return rows.append_column("batch", pa.repeat(pa.scalar(batch, pa.int64()), len(rows))).cast(
            self._schema
        )

    def _scan(
        self,
        table: DeltaTable,
        start: datetime | None,
        end: datetime | None,
        entities: Sequence[str] | None,
        names: list[str],
    ) -> pa.Table:
        sql, times = delta.between(start, end)
        return delta.scan(
            delta.dataset(table, sql, self._schema),
            [*dict.fromkeys([*names, "entity", "time", *schemas.key(self.stream)])],
            times,
            {"entity": None if entities is None else pa.array(entities, pa.string())},
        )


def _after(before: State, totals: Totals, kept: pa.Table, position: Mapping[str, Any]) -> State:
    newest = pc.max(kept["time"]).as_py()
    return State(
        dict(position),
        totals,
        before.batch + 1,
        max(filter(None, (before.watermark, newest)), default=None),
    )
