"""Batches and stores of observations for tests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schemas
from pipeline.config.models import Stream
from pipeline.sources.rejects import Reject, table
from pipeline.store.observations import ObservationStore, State
from tests.sources.kit import sensor, transactions

START = datetime(2026, 1, 1, tzinfo=UTC)


def store(folder: Path, stream: Stream | None = None) -> ObservationStore:
    stream = stream or sensor(folder)
    return ObservationStore(stream, str(folder / "tables/observations"), str(folder / "tables/rejects"))


def readings(rows: Sequence[tuple[str, int]], stream: Stream | None = None) -> pa.Table:
    """Return records of (entity, seconds after START); channel a is their place in the list."""
    cells: list[dict[str, Any]] = [
        {"entity": entity, "time": START + timedelta(seconds=s), "a": float(i)}
        for i, (entity, s) in enumerate(rows)
    ]
    return pa.Table.from_pylist(cells, schema=schemas.records(stream or sensor(Path())))


def payments(ids: Sequence[str], seconds: int = 0) -> pa.Table:
    moment = START + timedelta(seconds=seconds)
    cells = [{"id": i, "entity": "c", "time": moment, "amount": 1.0} for i in ids]
    return pa.Table.from_pylist(cells, schema=schemas.records(transactions(Path())))


def bad(*positions: int, source: str = "f.csv") -> pa.Table:
    return table([Reject(source, p, p, "no good", b"raw %d" % p, "[]") for p in positions], START)


def put(
    to: ObservationStore, before: State, records: pa.Table, rejects: pa.Table | None = None, at: int = 0
) -> State:
    rejected = bad() if rejects is None else rejects
    return to.append(before, records, rejected, len(records) + len(rejected), {"at": at or before.batch + 1})


def keys(of: ObservationStore) -> list[tuple[str, int]]:
    found = of.read()
    seconds = pc.divide(pc.subtract(found["time"].cast(pa.int64()), int(START.timestamp() * 1e6)), 1_000_000)
    return list(zip(found["entity"].to_pylist(), seconds.to_pylist(), strict=True))
