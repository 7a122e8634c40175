"""Kafka's own ways: partitions, keys, headers, patterns, transactions, retention, offsets on the broker."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from pipeline.config.models import SensorStream, Stream
from pipeline.errors import ConfigError, Unavailable
from pipeline.sources import open_source
from tests.services.kafka import Broker
from tests.sources.kit import drain


def payload(i: int, **more: Any) -> str:
    return json.dumps({"time": 1_767_225_600 + i, "machine": "p1", "a": i, "b": 0, **more})


@pytest.fixture
def stream(kafka_broker: Broker) -> Callable[..., Stream]:
    def made(*topics: str, fields: dict[str, Any] | None = None, **source: Any) -> Stream:
        return SensorStream.model_validate(
            {
                "name": "pumps",
                "kind": "sensor",
                "source": {"type": "kafka", "servers": kafka_broker.servers, "topics": topics, **source},
                "fields": {"entity": "machine", "channels": [{"name": "a"}, {"name": "b"}], **(fields or {})},
            },
            strict=False,
        )

    return made


def test_all_partitions_are_read_and_those_that_come_later_from_their_beginning(
    kafka_broker: Broker, stream: Callable[..., Stream]
) -> None:
    topic = kafka_broker.topic(partitions=2)
    for part in (0, 1):
        kafka_broker.send(topic, [payload(10 * part + i) for i in range(5)], part)
    asked = stream(topic, start="earliest")
    first = drain(asked, limit=3)
    assert sorted(r["a"] for r in first.rows) == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
    assert first.position == {"topics": {topic: {"0": 5, "1": 5}}}

    admin = AdminClient({"bootstrap.servers": kafka_broker.servers})
    admin.create_partitions([NewPartitions(topic, 3)])[topic].result(30)
    kafka_broker.send(topic, [payload(99)], 2)
    assert [r["a"] for r in drain(stream(topic, start="latest"), position=first.position).rows] == [99]


def test_key_headers_topic_and_time_are_columns_and_a_reject_keeps_them(
    kafka_broker: Broker, stream: Callable[..., Stream]
) -> None:
    topic = kafka_broker.topic()
    bare = {"a": 1, "b": 2}
    headers = [("site", b"north"), ("other", b"x")]
    sent = [json.dumps(bare), "{}", ' {\n "a": 3,\n "b": 4 } ']
    kafka_broker.send(topic, sent, key="p7", headers=headers, timestamp=1_767_225_600_000)
    fields = {
        "entity": "$key",
        "time": {"column": "$timestamp"},
        "channels": [{"name": "a"}, {"name": "b"}],
    }
    read = drain(stream(topic, fields=fields))
    assert [(r["entity"], r["a"], r["b"]) for r in read.rows] == [("p7", 1.0, 2.0), ("p7", 3.0, 4.0)]
    assert json.loads(read.rejects["raw"][0].as_py())["$key"] == "p7"
    by_site = drain(stream(topic, fields={**fields, "entity": "$header.site"}))
    assert {r["entity"] for r in by_site.rows} == {"north"}


def test_a_pattern_takes_topics_that_come_later(kafka_broker: Broker, stream: Callable[..., Stream]) -> None:
    one = kafka_broker.topic()
    kafka_broker.send(one, [payload(1)])
    asked = stream(f"^{one}.*")
    first = drain(asked)
    two = kafka_broker.topic(name=f"{one}-more")
    kafka_broker.send(two, [payload(2)])
    later = drain(asked, position=first.position)
    assert ([r["a"] for r in first.rows], [r["a"] for r in later.rows]) == ([1], [2])


def test_the_latest_start_is_kept_from_the_first_read_on(
    kafka_broker: Broker, stream: Callable[..., Stream]
) -> None:
    topic = kafka_broker.topic()
    kafka_broker.send(topic, [payload(1)])
    first = drain(stream(topic, start="latest"))
    assert not first.rows
    kafka_broker.send(topic, [payload(2)])
    assert [r["a"] for r in drain(stream(topic, start="latest"), position=first.position).rows] == [2]


def test_tombstones_are_no_records_and_no_rejects(
    kafka_broker: Broker, stream: Callable[..., Stream]
) -> None:
    topic = kafka_broker.topic()
    kafka_broker.send(topic, [payload(1), None, payload(2)], key="k")
    read = drain(stream(topic))
    assert ([r["a"] for r in read.rows], read.reasons) == ([1, 2], [])


def test_what_a_transaction_took_back_is_not_read(
    kafka_broker: Broker, stream: Callable[..., Stream]
) -> None:
    topic = kafka_broker.topic()
    producer = Producer({"bootstrap.servers": kafka_broker.servers, "transactional.id": topic})
    producer.init_transactions(30)
    for value, commit in ((1, True), (2, False), (3, True)):
        producer.begin_transaction()
        producer.produce(topic, payload(value))
        producer.flush(30)
        (producer.commit_transaction if commit else producer.abort_transaction)(30)
    read = drain(stream(topic))
    assert [r["a"] for r in read.rows] == [1, 3]
    assert read.position == {"topics": {topic: {"0": 6}}}, "the marks of three transactions count"


def test_messages_deleted_before_they_were_read_leave_a_reject(
    kafka_broker: Broker, stream: Callable[..., Stream]
) -> None:
    topic = kafka_broker.topic()
    kafka_broker.send(topic, [payload(i) for i in range(10)])
    first = drain(stream(topic))
    kafka_broker.send(topic, [payload(i) for i in range(10, 20)])
    admin = AdminClient({"bootstrap.servers": kafka_broker.servers})
    admin.delete_records([TopicPartition(topic, 0, 15)])
    time.sleep(1)
    later = drain(stream(topic), position=first.position)
    assert [r["a"] for r in later.rows] == [15, 16, 17, 18, 19]
    assert later.reasons == ["5 messages were deleted before they were read: offsets 10 to 14"]


def test_a_topic_made_anew_is_read_from_its_beginning(
    kafka_broker: Broker, stream: Callable[..., Stream]
) -> None:
    topic = kafka_broker.topic()
    kafka_broker.send(topic, [payload(i) for i in range(10)])
    first = drain(stream(topic))
    admin = AdminClient({"bootstrap.servers": kafka_broker.servers})
    admin.delete_topics([topic])[topic].result(30)
    time.sleep(1)
    kafka_broker.topic(name=topic)
    kafka_broker.send(topic, [payload(77)])
    assert [r["a"] for r in drain(stream(topic), position=first.position).rows] == [77]


def test_the_broker_is_told_how_far_was_stored(kafka_broker: Broker, stream: Callable[..., Stream]) -> None:
    topic = kafka_broker.topic()
    kafka_broker.send(topic, [payload(i) for i in range(10)])
    with open_source(stream(topic, group="people-who-watch"), Path("/")) as source:
        batch = source.read({}, 7)
        source.stored(batch.position)
    watcher = Consumer({"bootstrap.servers": kafka_broker.servers, "group.id": "people-who-watch"})
    assert watcher.committed([TopicPartition(topic, 0)], 10)[0].offset == 7
    watcher.close()


def test_a_topic_that_is_not_there_is_named(kafka_broker: Broker, stream: Callable[..., Stream]) -> None:
    with pytest.raises(ConfigError, match=r"source.topics: no topic reedings; expected .*"):
        drain(stream("reedings"))


def test_a_broker_that_is_not_there_is_unavailable(
    stream: Callable[..., Stream], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.sources.kafka.ANSWER", 2.0)
    with pytest.raises(Unavailable, match=r"Kafka at 127.0.0.1:1 does not answer"):
        drain(stream("readings", servers="127.0.0.1:1"))


def test_a_setting_that_librdkafka_does_not_know_is_named(stream: Callable[..., Stream]) -> None:
    with pytest.raises(ConfigError, match=r"source.options: Kafka's client refuses: .*sasl.mechanizm"):
        drain(stream("readings", options={"sasl.mechanizm": "PLAIN"}))


def test_lag_is_counted_in_messages_and_a_time_finds_its_offsets(
    kafka_broker: Broker, stream: Callable[..., Stream]
) -> None:
    topic = kafka_broker.topic(partitions=2)
    for i in range(4):
        kafka_broker.send(topic, [payload(i)], timestamp=(1_767_225_600 + 60 * i) * 1000)
    asked = stream(topic, start="earliest")
    with open_source(asked, Path("/")) as source:
        assert source.behind({}) == 4
        first = source.read({}, 1000)
        assert source.behind(first.position) == 0
        kafka_broker.send(topic, [payload(4), payload(5)], 1)
        assert source.behind(first.position) == 2
        back = source.rewound(first.position, datetime.fromtimestamp(1_767_225_600 + 60 * 2, UTC))
        assert back == {"topics": {topic: {"0": 2, "1": 0}}}
        again = source.read(back, 1000)
        assert sorted(again.records["a"].to_pylist()) == [2, 3, 4, 5]
        future = source.rewound(first.position, datetime(2100, 1, 1, tzinfo=UTC))
        assert future == first.position


def test_brokers_that_are_away_are_asked_for_two_seconds(stream: Callable[..., Stream]) -> None:
    away = stream("t", servers="127.0.0.1:1")
    with open_source(away, Path("/")) as source:
        begin = time.monotonic()
        with pytest.raises(Unavailable):
            source.behind({})
        assert time.monotonic() - begin < 3
