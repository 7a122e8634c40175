"""Protocol Buffers: messages by descriptors from the registry; other bytes are rejects."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.sources.payloads.protobuf import Protobuf
from pipeline.sources.payloads.schemas import Reference, Schema
from tests.sources.payloads.descriptors import classes, file, message, schema
from tests.sources.payloads.kit import REGISTRY, AtHand, frame, read, reasons, rows, stream

FAST = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
KAFKA = {"format": "protobuf", "registry": REGISTRY}
AT = 1_769_949_015
TIMESTAMP = "google/protobuf/timestamp.proto"


@pytest.fixture(scope="module")
def plant() -> Any:
    made = file(TIMESTAMP, "google/protobuf/wrappers.proto", "google/protobuf/duration.proto")
    reading = message(
        made.message_type, "Reading",
        time="google.protobuf.Timestamp", machine="string", a="double", b="double?", on="bool",
        kind="plant.Kind",
        inner="plant.Reading.Inner", many="plant.Reading.ManyEntry*", w="google.protobuf.DoubleValue",
        took="google.protobuf.Duration", count="uint64", tags="string*",
    )  # fmt: skip
    message(reading.nested_type, "Inner", bar="sint64", deep="plant.Reading.Inner")
    message(reading.nested_type, "ManyEntry", key="string", value="float").options.map_entry = True
    kind = made.enum_type.add(name="Kind")
    kind.value.add(name="PUMP", number=0)
    kind.value.add(name="FAN", number=1)
    message(made.message_type, "Other", machine="string", time="sint64", a="double")
    return made


def one(plant: Any, of: Any) -> Protobuf:
    return Protobuf(of, AtHand({1: schema(plant)}))


def reading(plant: Any, **more: Any) -> Any:
    made = classes(plant)("plant.Reading")(machine="p1", a=1.5, **more)
    made.time.FromSeconds(AT)
    return made


def test_fields_are_values_of_columns_and_what_has_presence_may_be_missing(plant: Any) -> None:
    of = stream(KAFKA, ["a", "b", "on", "inner.bar", "inner.deep.bar", "many.x", "w", "took", "count"])
    full = reading(plant, b=0.0, on=True, count=2**60)
    full.inner.bar, full.many["x"] = -7, 2.5
    full.w.value, full.took.seconds, full.took.nanos = 4.0, 3, 500_000_000
    payloads = [frame(1, b"\0" + m.SerializeToString()) for m in (full, reading(plant))]
    decode = one(plant, of)
    found = [read(decode, of, [p]) for p in payloads]
    values = [[row[f"c{i}"] for i in range(9)] for batch in found for row in rows(batch)]
    assert values == [
        [1.5, 0.0, 1.0, -7.0, None, 2.5, 4.0, 3.5, float(2**60)],
        [1.5, None, 0.0, None, None, None, None, None, 0.0],
    ]
    assert rows(found[0])[0]["time"] == datetime.fromtimestamp(AT, UTC)


def test_an_enum_is_its_name_and_one_that_is_newer_its_number(plant: Any) -> None:
    of = stream(KAFKA, ["a"], entity="kind")
    payloads = [frame(1, b"\0" + reading(plant, kind=k).SerializeToString()) for k in (1, 9)]
    assert [r["entity"] for r in rows(read(one(plant, of), of, payloads))] == ["FAN", "9"]


def test_the_message_of_a_file_is_told_by_the_numbers_after_the_schema(plant: Any) -> None:
    other = classes(plant)("plant.Other")(machine="p2", time=AT, a=3.0)
    of = stream(KAFKA, ["a"])
    found = read(one(plant, of), of, [frame(1, b"\x02\x02" + other.SerializeToString())])
    assert [(r["entity"], r["c0"]) for r in rows(found)] == [("p2", 3.0)], reasons(found)
    inner = classes(plant)("plant.Reading.Inner")(bar=3)
    found = read(one(plant, of), of, [frame(1, b"\x04\x00\x00" + inner.SerializeToString())])
    assert b'"bar": 3' in found.rejects["raw"][0].as_py(), "the first message within the first"


def test_schemas_change_from_message_to_message() -> None:
    old, new, of = file(), file(), stream(KAFKA, ["a", "b"])
    message(old.message_type, "Reading", time="sint64", machine="string", a="double")
    message(new.message_type, "Reading", time="sint64", machine="string", gone="double", b="double")
    payloads = [
        frame(i, b"\0" + classes(f)("plant.Reading")(time=AT + i, machine="p1", **v).SerializeToString())
        for i, (f, v) in enumerate([(old, {"a": 1.0}), (new, {"b": 2.0})], 1)
    ]
    found = read(Protobuf(of, AtHand({1: schema(old), 2: schema(new)})), of, payloads)
    assert [(r["c0"], r["c1"]) for r in rows(found)] == [(1.0, None), (None, 2.0)]


def test_a_file_may_import_another_of_the_registry() -> None:
    units, made, of = file(name="units.proto", package="units"), file("units.proto"), stream(KAFKA, ["p.bar"])
    message(units.message_type, "Pressure", bar="double")
    message(made.message_type, "Reading", time="sint64", machine="string", p="units.Pressure")
    value = classes(units, made)("plant.Reading")(time=AT, machine="p1")
    value.p.bar = 4.5
    refers = schema(made, Reference("units.proto", "units", 1))
    decode = Protobuf(of, AtHand({1: refers}, {"units": schema(units)}))
    assert [r["c0"] for r in rows(read(decode, of, [frame(1, b"\0" + value.SerializeToString())]))] == [4.5]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"{}", "begins with '7b 7d'; expected 00"),
        (frame(1, b""), "ends before the record begins"),
        (frame(1, b"\xff" * 9), "the number of a message has no end"),
        (frame(1, b"\xfe\x7f"), "8191 numbers of messages"),
        (frame(1, b"\x02\x10"), "schema 1 has no message [8]; its file has 2"),
        (frame(1, b"\0\x12\xff"), "not a plant.Reading of schema 1: "),
        (frame(2, b"\0"), "schema 2 is not in the registry"),
        (frame(3, b"\0"), "schema 3 cannot be read: "),
    ],
)
def test_bytes_that_are_no_record_are_rejected_as_they_came(plant: Any, payload: bytes, reason: str) -> None:
    good = frame(1, b"\0" + reading(plant).SerializeToString())
    decode = Protobuf(stream(KAFKA), AtHand({1: schema(plant), 3: schema(file("nowhere.proto"))}))
    found = read(decode, stream(KAFKA), [good, payload])
    assert len(rows(found)) == 1
    assert reasons(found)[0].startswith(reason)
    assert found.rejects["raw"][0].as_py() == payload


def test_a_registry_that_gives_text_is_no_fault_of_the_messages() -> None:
    decode = Protobuf(stream(KAFKA), AtHand({1: Schema('syntax = "proto3"; message R { double a = 1; }')}))
    with pytest.raises(
        ConfigError, match=r"source.registry: the schema registry gives schemas of Protobuf as text"
    ):
        read(decode, stream(KAFKA), [frame(1, b"\0")])


VALUES = {
    "double": st.floats(allow_nan=False, allow_infinity=False),
    "float": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "sint64": st.integers(-(2**53), 2**53),
    "uint64": st.integers(0, 2**53),
    "fixed32": st.integers(0, 2**32 - 1),
    "bool": st.booleans(),
}
FIELDS = st.sampled_from(sorted(VALUES)).flatmap(lambda k: st.tuples(st.just(k), VALUES[k]))


@FAST
@given(st.lists(FIELDS, min_size=1, max_size=6), st.booleans())
def test_any_record_of_any_schema_comes_back(fields: list[tuple[str, Any]], presence: bool) -> None:
    made, mark = file(), "?" if presence else ""
    kinds = {f"x{i}": kind + mark for i, (kind, _) in enumerate(fields)}
    message(made.message_type, "Reading", time="sint64", machine="string", **kinds)
    values = {f"x{i}": value for i, (_, value) in enumerate(fields)}
    value = classes(made)("plant.Reading")(time=AT, machine="p1", **values)
    of = stream(KAFKA, list(values))
    payload = frame(1, b"\0" + value.SerializeToString())
    (row,) = rows(read(Protobuf(of, AtHand({1: schema(made)})), of, [payload]))
    found = [row[f"c{i}"] for i in range(len(values))]
    assert all(math.isclose(f, v, rel_tol=1e-12) for f, v in zip(found, values.values(), strict=True))


@FAST
@given(st.binary(max_size=60), st.sampled_from([b"", b"\0", b"\x02\x02", b"\x04\0\0"]), st.booleans())
def test_any_bytes_are_a_record_or_a_reject(plant: Any, body: bytes, path: bytes, framed: bool) -> None:
    payload = frame(1, path + body) if framed else body
    assert read(one(plant, stream(KAFKA)), stream(KAFKA), [payload]).received == 1
