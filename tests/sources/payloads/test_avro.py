"""Avro: every record of every schema comes back, each message by its own schema; other bytes are rejects."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.sources.payloads.avro import Avro
from pipeline.sources.payloads.schemas import Reference, Schema
from tests.sources.payloads.kit import REGISTRY, AtHand, frame, read, reasons, rows, stream

FAST = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
KAFKA = {"format": "avro", "registry": REGISTRY}
MOMENT = datetime(2026, 2, 1, 12, 30, 15, 250_000, tzinfo=UTC)


def record(*fields: tuple[str, Any], **more: Any) -> dict[str, Any]:
    named = [{"name": name, "type": kind} for name, kind in fields]
    return {"type": "record", "name": "Reading", "fields": named, **more}


def written(schema: Any, value: Any, number: int = 1) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return frame(number, out.getvalue())


def avro(*schemas: Any, of: Any = None, **referred: Schema) -> Avro:
    numbered = {i: Schema(json.dumps(schema)) for i, schema in enumerate(schemas, 1)}
    return Avro(of or stream(KAFKA), AtHand(numbered, referred))


PLAIN = record(("time", "long"), ("machine", "string"), ("a", "double"), ("b", ["null", "float"]))
ROW = {"time": 1_767_225_600, "machine": "p1", "a": 1.5, "b": None}


@pytest.mark.parametrize("unit", ["auto", "iso8601", "s", "ms", "us", "ns"])
@pytest.mark.parametrize("kind", ["timestamp-millis", "timestamp-micros"])
def test_a_time_that_the_schema_knows_is_one_however_the_stream_says_times_are_written(
    kind: str, unit: str
) -> None:
    schema = record(("time", {"type": "long", "logicalType": kind}), ("machine", "string"), ("a", "int"))
    of = stream(KAFKA, time={"format": unit})
    found = read(avro(schema, of=of), of, [written(schema, {"time": MOMENT, "machine": "p1", "a": 3})])
    assert [r["time"] for r in rows(found)] == [MOMENT], reasons(found)


def test_logical_types_unions_enums_and_nested_records_are_values_of_columns() -> None:
    inner = {"type": "record", "name": "In", "fields": [{"name": "bar", "type": {
        "type": "bytes", "logicalType": "decimal", "precision": 8, "scale": 3}}]}  # fmt: skip
    kind = {"type": "enum", "name": "Kind", "symbols": ["PUMP", "FAN"]}
    schema = record(
        ("time", {"type": "int", "logicalType": "date"}), ("machine", kind), ("pressure", ["null", inner]),
        ("on", "boolean"), ("many", {"type": "map", "values": "double"}),
        ("tags", {"type": "array", "items": "string"}),
    )  # fmt: skip
    of = stream(KAFKA, ["pressure.bar", "on", "many.x"])
    value = {"time": date(2026, 2, 1), "machine": "FAN", "on": True, "many": {"x": 2.5}, "tags": ["t"]}
    payloads = [written(schema, {**value, "pressure": p}) for p in ({"bar": Decimal("4.125")}, None)]
    found = rows(read(avro(schema, of=of), of, payloads))
    day = datetime(2026, 2, 1, tzinfo=UTC)
    assert found == [{"entity": "FAN", "time": day, "c0": bar, "c1": 1.0, "c2": 2.5} for bar in (4.125, None)]


def test_a_decimal_that_is_an_id_keeps_its_digits() -> None:
    number = {"type": "bytes", "logicalType": "decimal", "precision": 24, "scale": 0}
    schema = record(("time", "long"), ("machine", number), ("a", "int"))
    value = {"time": 1_767_225_600, "machine": Decimal("123456789012345678901234"), "a": 1}
    found = read(avro(schema), stream(KAFKA), [written(schema, value)])
    assert rows(found)[0]["entity"] == "123456789012345678901234"


def test_schemas_change_from_message_to_message() -> None:
    """A field that is new, gone, or has a default: what was not written is missing, no more."""
    new = record(*[(f["name"], f["type"]) for f in PLAIN["fields"]], ("c", "int"))
    new["fields"][-1]["default"] = 7
    gone = record(("time", "long"), ("machine", "string"), ("a", "double"))
    of = stream(KAFKA, ["a", "b", "c"])
    values = [{**ROW, "b": 2.0}, {**ROW, "b": 2.0, "c": 9}, ROW]
    payloads = [
        written(schema, {**value, "time": ROW["time"] + i}, i + 1)
        for i, (schema, value) in enumerate(zip((PLAIN, new, gone), values, strict=True))
    ]
    decode = avro(PLAIN, new, gone, of=of)
    assert [(r["c0"], r["c1"], r["c2"]) for r in rows(read(decode, of, payloads))] == [
        (1.5, 2.0, None), (1.5, 2.0, 9.0), (1.5, None, None),
    ]  # fmt: skip


def test_a_schema_is_asked_for_once() -> None:
    schemas = AtHand({1: Schema(json.dumps(PLAIN))})
    found = read(Avro(stream(KAFKA), schemas), stream(KAFKA), [written(PLAIN, ROW)] * 50)
    assert (len(rows(found)), schemas.asked) == (50, 1)


def test_a_schema_may_refer_to_another() -> None:
    unit = {
        "type": "record",
        "name": "Unit",
        "namespace": "plant",
        "fields": [{"name": "bar", "type": "double"}],
    }
    outer = record(("time", "long"), ("machine", "string"), ("p", "plant.Unit"))
    of = stream(KAFKA, ["p.bar"])
    refers = Schema(json.dumps(outer), (Reference("plant.Unit", "unit", 1),))
    decode = Avro(of, AtHand({1: refers}, {"unit": Schema(json.dumps(unit))}))
    out = io.BytesIO()
    known: dict[str, Any] = {}
    fastavro.parse_schema(unit, named_schemas=known)
    value = {**ROW, "p": {"bar": 3.5}}
    fastavro.schemaless_writer(out, fastavro.parse_schema(outer, named_schemas=known), value)
    assert [r["c0"] for r in rows(read(decode, of, [frame(1, out.getvalue())]))] == [3.5]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "is empty; expected 00, four bytes with the number of a schema, and a record"),
        (b'{"a": 1}', "begins with '7b 22 61 22 3a'; expected 00"),
        (b"\0\0\0", "begins with '00 00 00'; expected 00"),
        (frame(9, b"x"), "schema 9 is not in the registry"),
        (written(PLAIN, ROW)[:-3], "not a record of schema 1: "),
        (written(PLAIN, ROW) + b"x", "not a record of schema 1: 1 of "),
        (written("long", 5, 2), "schema 2 is of values of type int; expected records"),
        (frame(3, b"x"), "schema 3 cannot be read: "),
    ],
)
def test_bytes_that_are_no_record_are_rejected_as_they_came(payload: bytes, reason: str) -> None:
    decode = avro(PLAIN, "long", {"type": "nonsense"})
    found = read(decode, stream(KAFKA), [written(PLAIN, ROW), payload], beside={"$key": "k"})
    assert len(rows(found)) == 1
    (reject,) = found.rejects.to_pylist()
    assert reject["reason"].startswith(reason)
    assert (reject["raw"], reject["header"]) == (payload, '{"$key": "k"}')


def test_what_was_decoded_and_is_no_record_is_rejected_as_json() -> None:
    bad = {**ROW, "machine": ""}
    (reject,) = read(avro(PLAIN), stream(KAFKA), [written(PLAIN, bad)]).rejects.to_pylist()
    assert reject["reason"] == "machine: missing; expected text"
    assert json.loads(reject["raw"]) == bad
    assert reject["header"] is None


def test_no_number_is_missing_and_infinity_is_told() -> None:
    values = [{**ROW, "a": a, "b": 1.0} for a in (math.nan, math.inf)]
    found = read(avro(PLAIN), stream(KAFKA), [written(PLAIN, v) for v in values])
    assert [r["c0"] for r in rows(found)] == [None]
    assert reasons(found) == ["a: 'inf' is not a finite number"]


SCALARS: Mapping[str, st.SearchStrategy[Any]] = {
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**53), 2**53),
    "float": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "double": st.floats(allow_nan=False, allow_infinity=False),
    "boolean": st.booleans(),
}
KINDS = st.sampled_from(sorted(SCALARS))


@st.composite
def nested(draw: st.DrawFn, depth: int = 0) -> tuple[Any, Any, Any]:
    """Return a schema, a value of it, and what the reader is to make of it."""
    shape = draw(st.sampled_from(["scalar", "scalar", "union", "record"] if depth < 3 else ["scalar"]))
    if shape == "scalar":
        kind = draw(KINDS)
        value = draw(SCALARS[kind])
        return kind, value, value
    if shape == "union":
        kind = draw(KINDS)
        value = draw(st.none() | SCALARS[kind])
        return ["null", kind], value, value
    parts = {f"f{i}": draw(nested(depth + 1)) for i in range(draw(st.integers(1, 3)))}
    fields = [{"name": name, "type": part[0]} for name, part in parts.items()]
    name = f"R{draw(st.integers(0, 10**9))}"
    made = {"type": "record", "name": name, "fields": fields}
    return made, {n: p[1] for n, p in parts.items()}, {n: p[2] for n, p in parts.items()}


def leaves(value: Any, within: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {within: value}
    return {k: v for name, inner in value.items() for k, v in leaves(inner, f"{within}.{name}").items()}


@FAST
@given(st.lists(nested(), min_size=1, max_size=4))
def test_any_record_of_any_schema_comes_back(parts: list[tuple[Any, Any, Any]]) -> None:
    fields = [(f"x{i}", part[0]) for i, part in enumerate(parts)]
    try:
        schema = fastavro.parse_schema(record(("time", "long"), ("machine", "string"), *fields))
    except fastavro.schema.SchemaParseException:  # two records of one name
        return
    value = {**ROW, **{f"x{i}": part[1] for i, part in enumerate(parts)}}
    expected = {k: v for i, part in enumerate(parts) for k, v in leaves(part[2], f"x{i}").items()}
    of = stream(KAFKA, list(expected))
    found = read(avro(schema, of=of), of, [written(schema, value)])
    if all(v is None for v in expected.values()):
        assert reasons(found) == ["every channel is missing; expected at least one reading"]
        return
    (row,) = rows(found)
    assert [row[f"c{i}"] for i in range(len(expected))] == list(expected.values())


RICH = record(
    ("time", {"type": "long", "logicalType": "timestamp-micros"}), ("machine", "string"),
    ("a", ["null", "double"]),
    ("b", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}),
    ("list", {"type": "array", "items": "string"}), ("map", {"type": "map", "values": "bytes"}),
)  # fmt: skip


@FAST
@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_a_record_or_a_reject(body: bytes, framed: bool) -> None:
    payload = frame(1, body) if framed else body
    found = read(avro(RICH), stream(KAFKA), [payload])
    assert found.received == 1
