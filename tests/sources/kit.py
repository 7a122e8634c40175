"""Streams over a folder of files, and reading them to the end."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.config.models import SensorStream, Stream, TransactionStream
from pipeline.sources import Batch, Source, open_source
from pipeline.sources.source import REJECTED

NOW = datetime(2026, 3, 1, tzinfo=UTC)
HEADER = "time,machine,a,b\n"


def sensor(folder: Path, channels: Sequence[dict[str, Any]] = (), **source: Any) -> SensorStream:
    time = source.pop("time", {})
    entity = source.pop("entity", "machine")
    named = list(channels) or [{"name": "a"}, {"name": "b"}]
    return SensorStream.model_validate(
        {
            "name": "pumps",
            "kind": "sensor",
            "source": {"path": str(folder), **source},
            "fields": {"entity": entity, "time": time, "channels": named},
        },
        strict=False,
    )


def transactions(folder: Path, **source: Any) -> TransactionStream:
    fields = {"id": "id", "entity": "card", "amount": "amount", "categories": ["terminal"]}
    return TransactionStream.model_validate(
        {
            "name": "cards",
            "kind": "transaction",
            "source": {"path": str(folder), **source},
            "fields": fields,
        },
        strict=False,
    )


@dataclass(frozen=True)
class Read:
    records: pa.Table
    rejects: pa.Table
    position: dict[str, Any]
    batches: int

    @property
    def rows(self) -> list[dict[str, Any]]:
        return list(self.records.to_pylist())

    @property
    def reasons(self) -> list[str]:
        return list(self.rejects["reason"].to_pylist())

    @property
    def received(self) -> int:
        return len(self.records) + len(self.rejects)


def drain(stream: Stream, limit: int = 1000, position: Mapping[str, Any] | None = None) -> Read:
    """Read a stream's source until there is no more; every batch must add up."""
    with open_source(stream, Path("/")) as source:
        return drained(source, limit, position)


def drained(source: Source, limit: int = 1000, position: Mapping[str, Any] | None = None) -> Read:
    batches: list[Batch] = []
    at = dict(position or {})
    while True:
        batch = source.read(at, limit)
        assert batch.received == len(batch.records) + len(batch.rejects) <= limit
        batches.append(batch)
        at = batch.position
        source.stored(at)
        if not batch.more:
            break
    return Read(
        pa.concat_tables([b.records for b in batches]),
        pa.concat_tables([REJECTED.empty_table(), *(b.rejects for b in batches)]),
        at,
        len(batches),
    )


def write(path: Path, content: str | bytes, *, age: timedelta = timedelta(minutes=1)) -> Path:
    """Write a file as if `age` ago, by the clock of the tests."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    touch(path, age)
    return path


def add(path: Path, content: str | bytes, *, age: timedelta = timedelta(0)) -> None:
    with path.open("ab") as file:
        file.write(content.encode() if isinstance(content, str) else content)
    touch(path, age)


def touch(path: Path, age: timedelta) -> None:
    moment = (NOW - age).timestamp()
    os.utime(path, (moment, moment))
