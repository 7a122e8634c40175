"""CSV and Sparkplug B from a real broker: messages are never parted, births outlive restarts."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config.models import SensorStream, Stream
from pipeline.sources import open_source
from pipeline.sources.payloads import unpacked
from pipeline.steps import Offbeat
from tests.services.mosquitto import Mosquitto
from tests.sources.kit import drain
from tests.sources.payloads.tahu import AT, birth, metric, payload
from tests.steps import kit

FIELDS = {"entity": "machine", "channels": [{"name": "a"}, {"name": "b"}]}
METERS = {
    "entity": "$device",
    "time": {"column": "$timestamp"},
    "channels": [{"name": "temp", "column": "Temp"}, {"name": "flow", "column": "Flow"}],
}


@pytest.fixture
def group() -> str:
    return uuid.uuid4().hex[:8]


@pytest.fixture
def source(mosquitto: Mosquitto, group: str) -> Callable[..., dict[str, Any]]:
    def made(kind: str, **more: Any) -> dict[str, Any]:
        topics = [f"spBv1.0/{group}/#"] if kind == "sparkplug" else [f"{group}/#"]
        return {
            "type": "mqtt",
            "url": mosquitto.url,
            "topics": topics,
            "session": group,
            "format": kind,
            **more,
        }

    return made


def stream(source: dict[str, Any], fields: dict[str, Any]) -> Stream:
    return SensorStream.model_validate(
        {"name": "pumps", "kind": "sensor", "source": source, "fields": fields}, strict=False
    )


def lines(first: int, count: int) -> bytes:
    return b"".join(b"%d,p1,%d,0\n" % (1_767_225_600 + i, i) for i in range(first, first + count))


def test_a_message_of_many_lines_is_never_parted(
    mosquitto: Mosquitto, group: str, source: Callable[..., dict[str, Any]]
) -> None:
    asked = stream(source("csv", columns=["time", "machine", "a", "b"]), FIELDS)
    drain(asked)
    mosquitto.send(f"{group}/x", [lines(0, 3), lines(3, 3), b"odd\n" + lines(6, 1), lines(7, 2)])
    with open_source(asked, Path("/")) as opened:
        first = opened.read({}, 4)
        assert first.records["a"].to_pylist() == [0, 1, 2, 3, 4, 5]
        assert first.position == {"messages": 2}
        opened.stored(first.position)
        second = opened.read(first.position, 1)
        assert (second.records["a"].to_pylist(), second.received) == ([6], 2)
        opened.stored(second.position)
    read = drain(asked, position=second.position)
    assert ([r["a"] for r in read.rows], read.position) == ([7, 8], {"messages": 4})


def test_each_message_may_bring_its_own_columns(
    mosquitto: Mosquitto, group: str, source: Callable[..., dict[str, Any]]
) -> None:
    asked = stream(source("csv", delimiter=";"), {**FIELDS, "entity": "$level.2"})
    drain(asked)
    mosquitto.send(f"{group}/p7", [b"time;a\n1767225600;1\n", b"b;time;a\n2;1767225601;3\n1;1767225602;x"])
    read = drain(asked)
    assert [(r["entity"], r["a"], r["b"]) for r in read.rows] == [("p7", 1, None), ("p7", 3, 2)]
    assert read.reasons == ["a: 'x' is not a finite number"]


def test_births_outlive_restarts_and_data_before_them_are_read_again(
    mosquitto: Mosquitto, group: str, source: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    text = yaml.safe_dump({"kind": "sensor", "source": source("sparkplug"), "fields": METERS})
    home = kit.project(tmp_path, meters=text)
    topic = f"spBv1.0/{group}/D{{}}/line1/pump7"

    def ingest(kind: str, said: bytes) -> dict[str, Any]:
        mosquitto.send(topic.format(kind), [said])
        return Offbeat.open(home).ingest("meters")

    Offbeat.open(home).ingest("meters")  # from now on the broker keeps what comes
    early = ingest(
        "DATA", payload(metric(value=1.5, alias=1), metric(value=-2, kind="Int8", typed=False, alias=2))
    )
    assert (early["stored"], early["rejected"]) == (0, 1)
    assert "alias 1 of" in Offbeat.open(home).rejects("meters")[0]["reason"]
    born = ingest(
        "BIRTH",
        payload(
            metric("Temp", 3.0, "Double", alias=1), *birth(Pad="Text", Flow="Int8")[1:], timestamp=AT + 1
        ),
    )
    assert (born["stored"], born["rejected"]) == (1, 0)
    later = ingest("DATA", payload(metric(value=4.5, alias=1), timestamp=AT + 2))
    assert (later["stored"], later["rejected"]) == (1, 0)
    ingest("DEATH", payload())
    replayed = Offbeat.open(home).reread("meters")
    assert (replayed["passed"], replayed["still_rejected"]) == (1, 0)
    work = Offbeat.open(home)
    stored = work.observations(work.stream("meters")).read().to_pylist()
    assert [(r["entity"], r["temp"], r["flow"]) for r in stored] == [
        ("line1/pump7", 1.5, -2), ("line1/pump7", 3, None), ("line1/pump7", 4.5, None),
    ]  # fmt: skip
    state = work.observations(work.stream("meters")).state()
    assert unpacked(state.position["births"]) == {
        f"{group}/line1": {"pump7": {"Temp": [10, 1], "Flow": [1, 2]}}
    }
    assert state.position["messages"] == 4


def test_what_is_sent_without_a_promise_is_not_forgotten_with_the_connection(
    mosquitto: Mosquitto, group: str, source: Callable[..., dict[str, Any]]
) -> None:
    """Nodes of Sparkplug send with quality of service 0: what has come is not sent again."""
    asked = stream(source("sparkplug"), METERS)
    topic = f"spBv1.0/{group}/DDATA/line1/pump7"
    with open_source(asked, Path("/")) as opened:
        opened.read({}, 1)
        mosquitto.send(topic, [payload(metric("Temp", float(i)), timestamp=AT + i) for i in range(5)], qos=0)
        deadline, first = 20, opened.read({}, 1)
        while not first.received and (deadline := deadline - 1):
            first = opened.read({}, 1)
        opened.read({}, 1000)
        opened.stored(first.position)
        mosquitto.kill()
        mosquitto.start()
        rest = opened.read(first.position, 1000)
    assert first.records["temp"].to_pylist() + rest.records["temp"].to_pylist() == [0, 1, 2, 3, 4]
