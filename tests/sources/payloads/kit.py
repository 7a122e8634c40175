"""Streams of each format, schemas that are at hand, and payloads read as a source would."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.config.models import SensorStream
from pipeline.sources.conform import Conformer
from pipeline.sources.messages import Message, MessageReader
from pipeline.sources.payloads import Decoder, Memory, Unreadable
from pipeline.sources.payloads.schemas import Reference, Schema
from pipeline.sources.source import Batch
from pipeline.sources.work import Work
from tests.sources.kit import NOW

REGISTRY = {"url": "http://registry.invalid"}


def stream(
    source: Mapping[str, Any],
    channels: Sequence[str] = ("a", "b"),
    entity: str | None = "machine",
    time: Mapping[str, Any] | None = None,
) -> SensorStream:
    kind = "mqtt" if source.get("format") in ("csv", "sparkplug") else "kafka"
    where = {"servers": "x:1", "topics": ["t"]} if kind == "kafka" else {"url": "mqtt://x", "topics": ["t"]}
    fields = {
        "entity": entity,
        "time": time or {},
        "channels": [{"name": f"c{i}", "column": c} for i, c in enumerate(channels)],
    }
    body = {"name": "pumps", "kind": "sensor", "source": {"type": kind, **where, **source}, "fields": fields}
    return SensorStream.model_validate(body, strict=False)


class AtHand:
    """Schemas by number; those that others refer to by subject."""

    def __init__(self, schemas: Mapping[int, Schema], referred: Mapping[str, Schema] | None = None) -> None:
        self.schemas, self.of, self.asked = schemas, referred or {}, 0

    def numbered(self, number: int) -> Schema:
        self.asked += 1
        if number not in self.schemas:
            raise Unreadable(f"schema {number} is not in the registry")
        return self.schemas[number]

    def referred(self, reference: Reference) -> Schema:
        return self.of[reference.subject]


def frame(number: int, body: bytes) -> bytes:
    return b"\0" + number.to_bytes(4, "big") + body


def read(
    decode: Decoder,
    of: SensorStream,
    payloads: Iterable[bytes | tuple[str, bytes]],
    memory: Memory | None = None,
    beside: Mapping[str, Any] | None = None,
) -> Batch:
    """Read payloads, each of topic `t` or of its own."""
    conform = Conformer(of)
    pairs = [("t", p) if isinstance(p, bytes) else p for p in payloads]
    messages = [Message(topic, i, payload, dict(beside or {})) for i, (topic, payload) in enumerate(pairs)]
    work = Work(rows=10_000, now=NOW)
    assert MessageReader(conform, decode).take(messages, work, memory) == len(messages)
    return work.batch(conform, {}, more=False)


def rows(batch: Batch) -> list[dict[str, Any]]:
    return list(batch.records.to_pylist())


def reasons(batch: Batch) -> list[str]:
    return list(batch.rejects["reason"].to_pylist())
