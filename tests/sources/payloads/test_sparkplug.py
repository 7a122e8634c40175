"""Sparkplug B: metrics by name or by a birth's alias, each at its own time; births are remembered."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.config.models import SensorStream
from pipeline.sources import reparse
from pipeline.sources.payloads import Memory, decoder, packed, sparkplug, unpacked
from pipeline.sources.payloads.sparkplug import Sparkplug
from pipeline.sources.source import Batch
from tests.sources.payloads.kit import read, reasons, rows, stream
from tests.sources.payloads.tahu import AT, TYPES, birth, metric, payload

FAST = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
NODE, PUMP = "spBv1.0/plant/N{}/line1", "spBv1.0/plant/D{}/line1/pump7"


def of(*channels: str, entity: str | None = "$device") -> SensorStream:
    return stream({"format": "sparkplug"}, channels or ("Temp", "Flow"), entity, {"column": "$timestamp"})


def taken(
    *messages: tuple[str, bytes], memory: Memory | None = None, by: SensorStream | None = None
) -> Batch:
    made = by or of()
    decode = decoder(made, Path("/"))
    assert decode is not None
    return read(decode, made, messages, memory)


def moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def values(batch: Batch) -> list[tuple[Any, ...]]:
    return [(r["entity"], r["time"], r["c0"], r["c1"]) for r in rows(batch)]


def test_the_bytes_of_the_specification_are_read() -> None:
    """By hand: field numbers and wire types of `Payload` and `Metric`, not those of our own descriptor."""
    name, text = b"\x0a\x04Temp", b"\x7a\x02on"
    metrics = [
        name
        + b"\x10\x07"
        + b"\x18\xe8\x07"
        + b"\x20\x03"
        + b"\x50\xff\xff\xff\xff\x0f",  # Int32, -1, at 1000 ms
        b"\x0a\x01l" + b"\x20\x04" + b"\x58" + b"\xff" * 9 + b"\x01",  # Int64, -1
        b"\x0a\x01f" + b"\x20\x09" + b"\x65\x00\x00\xc0\x3f",  # Float, 1.5
        b"\x0a\x01d" + b"\x20\x0a" + b"\x69\x00\x00\x00\x00\x00\x00\x04\x40",  # Double, 2.5
        b"\x0a\x01b" + b"\x20\x0b" + b"\x70\x01",  # Boolean
        b"\x0a\x01s" + b"\x20\x0c" + text + b"\x28\x01",  # String, historical
        b"\x0a\x01n" + b"\x20\x0a" + b"\x38\x01",  # null
    ]
    body = b"".join(b"\x12" + bytes([len(m)]) + m for m in metrics)
    said = b"\x08\xd0\x0f" + body + b"\x18\x05"  # at 2000 ms, number 5
    memory: Memory = {}
    found = list(Sparkplug(["Temp", "l"])(PUMP.format("BIRTH"), said, memory))
    assert found == [
        {"$timestamp": 1000, "$device": "line1/pump7", "Temp": -1},
        {
            "$timestamp": 2000,
            "$device": "line1/pump7",
            "l": -1,
            "f": 1.5,
            "d": 2.5,
            "b": 1,
            "s": "on",
            "n": None,
        },
    ]
    assert memory["plant/line1"]["pump7"]["Temp"] == [3, 7]


def test_metrics_are_named_by_the_birth_before_them() -> None:
    memory: Memory = {}
    found = taken(
        (NODE.format("BIRTH"), payload(metric("Flow", 9.0, "Double", alias=1))),
        (
            PUMP.format("BIRTH"),
            payload(metric("Temp", 1.5, "Double", alias=1), metric("Flow", 2, "Int16", alias=2)),
        ),
        (
            PUMP.format("DATA"),
            payload(metric(value=-3, kind="Int16", typed=False, alias=2), timestamp=AT + 1),
        ),
        (PUMP.format("DATA"), payload(metric("Temp", 4.5), timestamp=AT + 2)),
        (NODE.format("DATA"), payload(metric(value=8.0, alias=1), timestamp=AT + 3)),
        memory=memory,
    )
    assert values(found) == [
        ("line1", moment(AT), None, 9.0), ("line1/pump7", moment(AT), 1.5, 2.0),
        ("line1/pump7", moment(AT + 1), None, -3.0), ("line1/pump7", moment(AT + 2), 4.5, None),
        ("line1", moment(AT + 3), None, 8.0),
    ]  # fmt: skip
    assert json.loads(json.dumps(memory)) == memory == {
        "plant/line1": {"": {"Flow": [10, 1]}, "pump7": {"Temp": [10, 1], "Flow": [2, 2]}}
    }  # fmt: skip


def test_a_births_aliases_outlive_a_restart_in_the_position() -> None:
    memory: Memory = {}
    taken((PUMP.format("BIRTH"), payload(*birth(Temp="Float"))), memory=memory)
    position = unpacked(packed(memory))
    assert values(taken((PUMP.format("DATA"), payload(metric(value=1.5, alias=1))), memory=position)) == [
        ("line1/pump7", moment(AT), 1.5, None)
    ]


def test_a_new_birth_replaces_the_aliases_of_the_old_and_a_nodes_ends_those_of_its_devices() -> None:
    data = (PUMP.format("DATA"), payload(metric(value=1.5, alias=1)))
    before = (PUMP.format("BIRTH"), payload(*birth(Temp="Double", Flow="Double")))
    after = (PUMP.format("BIRTH"), payload(*birth(Flow="Double", Temp="Double"), timestamp=AT + 5))
    memory: Memory = {}
    assert values(taken(before, data, after, memory=memory))[0][2:] == (1.5, None)
    assert values(taken(data, memory=memory))[0][2:] == (None, 1.5)
    found = taken((NODE.format("BIRTH"), payload()), data, memory=memory)
    assert reasons(found) == [
        "alias 1 of 'plant/line1/pump7' is unknown: no birth of it was read yet; ask the node for a rebirth, "
        "then replay"
    ]


def test_a_metrics_own_time_wins_and_those_of_one_time_are_one_record() -> None:
    said = payload(
        metric("Temp", 1.0, "Double", timestamp=AT - 60_000, is_historical=True),
        metric("Flow", 2.0, "Double", timestamp=AT - 60_000, is_historical=True),
        metric("Temp", 3.0, "Double", timestamp=AT - 30_000, is_historical=True),
        metric("Temp", 5.0, "Double"),
    )
    found = values(taken((PUMP.format("DATA"), said)))
    assert [(time, *rest) for _, time, *rest in found] == [
        (moment(AT - 60_000), 1.0, 2.0), (moment(AT - 30_000), 3.0, None), (moment(AT), 5.0, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("Int8", -1, -1.0), ("Int16", -32768, -32768.0), ("Int32", -5, -5.0),
        ("Int64", -(2**40), float(-(2**40))),
        ("UInt8", 255, 255.0), ("UInt32", 2**32 - 1, float(2**32 - 1)), ("UInt64", 2**63, float(2**63)),
        ("Float", 0.5, 0.5), ("Double", math.nan, None), ("Boolean", True, 1.0), ("Boolean", False, 0.0),
        ("DateTime", AT, float(AT)), ("String", "12.5", 12.5),
    ],
)  # fmt: skip
def test_values_of_every_type_are_numbers(kind: str, value: Any, expected: float | None) -> None:
    said = payload(metric("Temp", value, kind), metric("Flow", 1.0, "Double"))
    assert [r["c0"] for r in rows(taken((PUMP.format("DATA"), said)))] == [expected]


def test_a_narrow_negative_is_read_with_its_sign_however_it_was_extended() -> None:
    """Some write -1 of Int8 as 255, others as 2^32 - 1."""
    for written in (0xFF, 0xFFFF_FFFF):
        said = payload(metric("Temp", written, "UInt32") | {"typed": False, "datatype": TYPES["Int8"]})
        assert [r["c0"] for r in rows(taken((PUMP.format("DATA"), said)))] == [-1.0]


def test_null_is_missing_and_what_is_no_value_is_told() -> None:
    said = payload(metric("Temp", None, "Double", is_null=True), metric("Flow", 2.0, "Double"))
    assert values(taken((PUMP.format("DATA"), said)))[0][2:] == (None, 2.0)
    found = taken((PUMP.format("DATA"), payload(metric("Temp", b"x", "Template"))))
    assert reasons(found) == ["Temp: 'a template' is not a finite number"]


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        ("spBv1.0/plant/NDEATH/line1", payload()), ("spBv1.0/plant/DDEATH/line1/pump7", payload()),
        ("spBv1.0/plant/NCMD/line1", payload(metric("Temp", 1.0))), ("spBv1.0/STATE/host", b"{}"),
        (PUMP.format("DATA"), payload(metric("Other", 1.0, "Double"))), (PUMP.format("DATA"), payload()),
    ],
)  # fmt: skip
def test_what_says_nothing_of_the_streams_channels_is_neither_record_nor_reject(
    topic: str, said: bytes
) -> None:
    assert taken((topic, said)).received == 0


@pytest.mark.parametrize(
    ("topic", "said", "reason"),
    [
        ("plant/line1", payload(), "'plant/line1' is no topic of Sparkplug B; expected spBv1.0/<group>/"),
        (NODE.format("DATA") + "/pump7", payload(), "'spBv1.0/plant/NDATA/line1/pump7' is no topic"),
        (PUMP.format("DATA"), b"\xff", "not a payload of Sparkplug B: "),
        (PUMP.format("DATA"), payload(metric(value=1.0, alias=7)), "alias 7 of 'plant/line1/pump7' is"),
        (PUMP.format("DATA"), payload(metric(value=1.0)), "a metric has neither a name nor an alias"),
        (PUMP.format("DATA"), payload(metric("Temp", 3, "Int8", typed=False)), "the type of 'Temp' of '"),
        (PUMP.format("DATA"), payload(metric("Temp", 3, "Int8"), timestamp=None), "$timestamp: missing"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_rejected_with_its_reason(topic: str, said: bytes, reason: str) -> None:
    (reject,) = taken((topic, said)).rejects.to_pylist()
    assert reject["reason"].startswith(reason)
    if not reason.startswith("$"):
        assert (reject["source"], reject["raw"]) == (topic, said)


def test_data_of_an_unknown_alias_is_read_again_after_a_birth() -> None:
    data = (
        PUMP.format("DATA"),
        payload(metric(value=-4, kind="Int16", typed=False, alias=2), metric(value=1.5, alias=1)),
    )
    found = taken(data)
    assert found.received == len(found.rejects) == 1
    assert len(reparse(of(), found.rejects, {"messages": 1}).rejects) == 1
    memory: Memory = {}
    taken((PUMP.format("BIRTH"), payload(*birth(Temp="Double", Flow="Int16"))), memory=memory)
    again = reparse(of(), found.rejects, {"messages": 2, "births": packed(memory)})
    assert [(r["c0"], r["c1"]) for r in again.records.to_pylist()] == [(1.5, -4.0)]
    assert not len(again.rejects)


def test_births_cannot_fill_the_position(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparkplug, "MOST", 3)
    memory: Memory = {}
    births = [
        (f"spBv1.0/plant/DBIRTH/line1/p{i}", payload(*birth(Temp="Double", Flow="Double"))) for i in (1, 2)
    ]
    found = taken(*births, births[0], memory=memory)
    assert "more than 3 metrics in the births of one stream; narrow source.topics" in reasons(found)
    assert list(memory["plant/line1"]) == ["p1"]


def test_a_large_plants_births_take_little_of_each_commit() -> None:
    memory: Memory = {}
    kinds = {f"Drives/Section {i}/Motor Temperature": "Double" for i in range(50)}
    births = [(f"spBv1.0/plant/DBIRTH/line{i}/p{i}", payload(*birth(**kinds))) for i in range(100)]
    taken(*births, memory=memory)
    assert sum(len(table) for devices in memory.values() for table in devices.values()) == 5000
    assert len(packed(memory)) < 10_000


METRICS = st.builds(
    metric, st.none() | st.sampled_from(["Temp", "Flow", "x"]), st.none() | st.integers(0, 300),
    st.sampled_from(["Int8", "UInt64", "Double", "Int32"]), alias=st.none() | st.integers(0, 3),
    timestamp=st.none() | st.integers(0, 2**63), is_null=st.booleans(), typed=st.booleans(),
)  # fmt: skip
PAYLOADS = st.binary(max_size=60) | st.builds(
    lambda many, when: payload(*many, timestamp=when),
    st.lists(METRICS, max_size=4),
    st.none() | st.integers(0, 2**64 - 1),
)
TOPICS = st.sampled_from(
    [
        PUMP.format("BIRTH"),
        PUMP.format("DATA"),
        NODE.format("BIRTH"),
        NODE.format("DATA"),
        "spBv1.0/plant/NDEATH/line1",
        "t",
    ]
)


@FAST
@given(st.lists(st.tuples(TOPICS, PAYLOADS), max_size=6))
def test_any_messages_are_records_or_rejects_and_memory_is_json(messages: list[tuple[str, bytes]]) -> None:
    memory: Memory = {}
    taken(*messages, memory=memory, by=ANY)
    assert json.loads(json.dumps(memory)) == memory


ANY = of()
