"""How many records come out of the payloads of each format, decoded and checked, in a second of CPU.

    python -m benchmarks.payloads

Records have a time, a machine and two readings. No broker, no registry, no store: what a format costs beside
JSON.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fastavro

from pipeline import clock
from pipeline.config.models import SensorStream
from pipeline.sources.conform import Conformer
from pipeline.sources.messages import Message, MessageReader
from pipeline.sources.payloads import Decoder, decoder
from pipeline.sources.payloads.avro import Avro
from pipeline.sources.payloads.protobuf import Protobuf
from pipeline.sources.payloads.schemas import Schema
from pipeline.sources.work import Work
from tests.sources.payloads.descriptors import classes, file, message, schema
from tests.sources.payloads.kit import REGISTRY, AtHand, frame, stream
from tests.sources.payloads.tahu import AT, metric, payload

RECORDS, PIECE, LINES = 50_000, 10_000, 100
ROWS = [
    {"time": 1_767_225_600 + i, "machine": f"p{i % 20}", "a": i * 1.25, "b": i * 0.5} for i in range(RECORDS)
]
AVRO = {
    "type": "record",
    "name": "Reading",
    "fields": [
        {"name": "time", "type": "long"},
        {"name": "machine", "type": "string"},
        {"name": "a", "type": "double"},
        {"name": "b", "type": ["null", "double"]},
    ],
}
Case = tuple[SensorStream, Decoder | None, list[bytes]]


def main() -> None:
    print("| format | bytes a record | records/s of CPU |\n| --- | --- | --- |")
    for name, make in CASES.items():
        of, decode, payloads = make()
        size = sum(map(len, payloads)) / RECORDS
        print(f"| {name} | {size:.0f} | {max(rate(of, decode, payloads) for _ in range(3)):,.0f} |")


def rate(of: SensorStream, decode: Decoder | None, payloads: Sequence[bytes]) -> float:
    reader, taken, began = MessageReader(Conformer(of), decode), 0, time.process_time()
    for at in range(0, len(payloads), PIECE):
        part = payloads[at : at + PIECE]
        work = Work(rows=RECORDS, now=clock.now())
        reader.take([Message("spBv1.0/plant/DDATA/line1/p7", i, p, {}) for i, p in enumerate(part)], work)
        taken += sum(len(table) for table in work.records)
    assert taken == RECORDS
    return taken / (time.process_time() - began)


def _json() -> Case:
    return stream({"format": "json"}), None, [json.dumps(row).encode() for row in ROWS]


def _avro() -> Case:
    of, parsed = stream({"format": "avro", "registry": REGISTRY}), fastavro.parse_schema(AVRO)

    def written(row: dict[str, Any]) -> bytes:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, parsed, row)
        return frame(1, out.getvalue())

    return of, Avro(of, AtHand({1: Schema(json.dumps(AVRO))})), [written(row) for row in ROWS]


def _protobuf() -> Case:
    of, described = stream({"format": "protobuf", "registry": REGISTRY}), file()
    message(described.message_type, "Reading", time="sint64", machine="string", a="double", b="double?")
    made = classes(described)("plant.Reading")
    written = [frame(1, b"\0" + made(**row).SerializeToString()) for row in ROWS]
    return of, Protobuf(of, AtHand({1: schema(described)})), written


def _csv(lines: int) -> Case:
    of = stream({"format": "csv", "columns": ["time", "machine", "a", "b"]})
    written = [",".join(map(str, row.values())).encode() for row in ROWS]
    payloads = [b"\n".join(written[at : at + lines]) for at in range(0, RECORDS, lines)]
    return of, decoder(of, Path()), payloads


def _sparkplug() -> Case:
    of = stream({"format": "sparkplug"}, ["Temp", "Flow"], "$device", {"column": "$timestamp"})
    written = [
        payload(metric("Temp", row["a"], "Double"), metric("Flow", row["b"], "Double"), timestamp=AT + i)
        for i, row in enumerate(ROWS)
    ]
    return of, decoder(of, Path()), written


CASES: dict[str, Callable[[], Case]] = {
    "json": _json,
    "avro": _avro,
    "protobuf": _protobuf,
    "csv, a line a message": lambda: _csv(1),
    f"csv, {LINES} lines a message": lambda: _csv(LINES),
    "sparkplug": _sparkplug,
}

if __name__ == "__main__":
    main()
