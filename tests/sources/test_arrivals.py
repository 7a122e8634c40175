"""Arrivals are noticed once, before an ingest has read them, and nothing is taken of what it will read."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.models import SensorStream, Stream
from pipeline.errors import ConfigError, Unavailable
from pipeline.sources import open_arrivals
from tests.services.kafka import Broker
from tests.services.mosquitto import Mosquitto
from tests.sources.kit import HEADER, drain


def payload(i: int) -> str:
    return json.dumps({"time": 1_767_225_600 + i, "machine": "p1", "a": i, "b": 0})


def stream(**source: Any) -> Stream:
    fields = {"entity": "machine", "channels": [{"name": "a"}, {"name": "b"}]}
    body = {"name": "pumps", "kind": "sensor", "source": source, "fields": fields}
    return SensorStream.model_validate(body, strict=False)


def test_kafka_is_asked_what_follows_the_stored_position(kafka_broker: Broker) -> None:
    topic = kafka_broker.topic(2)
    asked = stream(type="kafka", servers=kafka_broker.servers, topics=(topic,))
    with open_arrivals(asked, Path("/")) as arrivals:
        assert not arrivals.some({})
        kafka_broker.send(topic, [payload(1)], 1)
        assert [arrivals.some({}), arrivals.some({})] == [True, False], "told once, until the store moves on"
        read = drain(asked)
        assert len(read.rows) == 1
        assert not arrivals.some(read.position)
        kafka_broker.send(topic, [payload(2)], 0)
        assert arrivals.some(read.position)
        assert len(drain(asked, position=read.position).rows) == 1


def test_kafka_that_is_away_and_a_topic_that_is_not_there_are_said(kafka_broker: Broker) -> None:
    with (
        open_arrivals(stream(type="kafka", servers=kafka_broker.servers, topics=("none",)), Path("/")) as it,
        pytest.raises(ConfigError, match="no topic none"),
    ):
        it.some({})


@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_mqtt_is_listened_to_beside_the_session_that_keeps(mosquitto: Mosquitto, version: str) -> None:
    topic = f"plant/{uuid.uuid4().hex[:8]}"
    source = {"url": mosquitto.url, "version": version, "session": topic.replace("/", "-")}
    asked = stream(type="mqtt", topics=(f"{topic}/#",), **source)
    assert not drain(asked).rows, "from now on the broker keeps what comes"
    with open_arrivals(asked, Path("/")) as arrivals:
        assert arrivals.some({}), "something may have come before"
        assert not arrivals.some({})
        mosquitto.send(f"{topic}/a", [payload(i) for i in range(500)])
        assert arrivals.some({})
        while arrivals.some({}):
            pass  # the rest of them
        mosquitto.send(f"{topic}/a", [payload(1000)])
        assert arrivals.some({}), "what comes after it was told is told again"
    assert len(drain(asked).rows) == 501, "the session that keeps has lost none of it"


def test_those_who_share_a_subscription_lose_nothing_to_one_who_listens(mosquitto: Mosquitto) -> None:
    topic = f"plant/{uuid.uuid4().hex[:8]}"
    asked = stream(type="mqtt", url=mosquitto.url, topics=(f"$share/g/{topic}",), session=topic[-8:])
    drain(asked)
    with open_arrivals(asked, Path("/")) as arrivals:
        assert arrivals.some({})
        mosquitto.send(topic, [payload(i) for i in range(20)])
        assert arrivals.some({})
    assert len(drain(asked).rows) == 20


def test_mqtt_that_is_away_is_said() -> None:
    with (
        open_arrivals(stream(type="mqtt", url="mqtt://127.0.0.1:1", topics=("a",)), Path("/")) as arrivals,
        pytest.raises(Unavailable),
    ):
        arrivals.some({})


def test_files_are_told_of_once_and_again_when_they_grow(tmp_path: Path) -> None:
    asked = stream(type="files", path=str(tmp_path / "in"))
    with open_arrivals(asked, tmp_path) as arrivals:
        with pytest.raises(Unavailable, match="no such folder"):
            arrivals.some({})
        (tmp_path / "in").mkdir()
        assert not arrivals.some({})
        file = tmp_path / "in" / "a.csv"
        file.write_text(f"{HEADER}2026-02-01,p1,1,2\n")
        assert [arrivals.some({}), arrivals.some({})] == [True, False], "told once, until the store moves on"
        position = drain(asked).position
        (tmp_path / "in" / ".hidden").write_text("x")
        assert not arrivals.some(position)
        with file.open("a") as more:
            more.write("2026-02-02,p1,1,2\n")
        assert arrivals.some(position)


def test_a_table_tells_nobody() -> None:
    fields = {"entity": "machine", "channels": [{"name": "a"}]}
    body = {"name": "pumps", "kind": "sensor", "fields": fields, "schedules": {"wake": True}}
    sql = {"type": "sql", "url": "sqlite:///x.db", "table": "t", "cursor": "id"}
    with pytest.raises(ValueError, match="a table tells nobody"):
        SensorStream.model_validate({**body, "source": sql}, strict=False)
