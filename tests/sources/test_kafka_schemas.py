"""Avro and Protobuf of a real broker and a real registry: written by Confluent's serializers, read by us."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from pipeline.config.models import SensorStream, Stream
from pipeline.errors import ConfigError, Unavailable
from pipeline.sources import open_source
from pipeline.steps import Offbeat
from tests.services.kafka import Broker
from tests.services.registry import Registry
from tests.sources.kit import drain
from tests.sources.payloads.kit import frame
from tests.steps import kit

AT = 1_767_225_600
FIELDS = {"entity": "machine", "channels": [{"name": "a"}, {"name": "b", "column": "inner.b"}]}
INNER = {
    "type": "record",
    "name": "Inner",
    "fields": [{"name": "b", "type": ["null", "double"], "default": None}],
}
AVRO = {
    "type": "record",
    "name": "Reading",
    "fields": [
        {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "machine", "type": "string"},
        {"name": "a", "type": "double"},
        {"name": "inner", "type": INNER},
    ],
}
NEWER = {**AVRO, "fields": [*AVRO["fields"], {"name": "c", "type": "int", "default": 7}]}


def row(i: int, **more: Any) -> dict[str, Any]:
    return {
        "time": datetime.fromtimestamp(AT + i, UTC),
        "machine": "p1",
        "a": float(i),
        "inner": {"b": -1.0},
        **more,
    }


@pytest.fixture
def topic(kafka_broker: Broker) -> str:
    return kafka_broker.topic()


@pytest.fixture
def source(kafka_broker: Broker, schema_registry: Registry, topic: str) -> Callable[..., dict[str, Any]]:
    def made(kind: str, **more: Any) -> dict[str, Any]:
        registry = {} if kind == "json" else {"registry": {"url": schema_registry.url}}
        servers = kafka_broker.servers
        return {"type": "kafka", "servers": servers, "topics": [topic], "format": kind, **registry, **more}

    return made


def stream(source: dict[str, Any]) -> Stream:
    body = {"name": "pumps", "kind": "sensor", "source": source, "fields": FIELDS}
    return SensorStream.model_validate(body, strict=False)


@pytest.fixture
def avro(schema_registry: Registry, topic: str) -> Callable[..., bytes]:
    """Return what writes a record as Confluent's serializer does, registering its schema."""
    client = SchemaRegistryClient({"url": schema_registry.url})

    def written(value: dict[str, Any], schema: Any = AVRO) -> bytes:
        settings = {"subject.name.strategy.type": "TOPIC"}
        made = AvroSerializer(client, json.dumps(schema), conf=settings)
        return made(value, SerializationContext(topic, MessageField.VALUE))

    return written


def test_avro_of_several_versions_is_read(
    kafka_broker: Broker, topic: str, source: Callable[..., dict[str, Any]], avro: Callable[..., bytes]
) -> None:
    sent = [avro(row(0)), avro(row(1, inner={"b": None})), avro(row(2, c=9), NEWER), avro(row(3))]
    kafka_broker.send(topic, sent)
    read = drain(stream(source("avro")), limit=3)
    assert [(r["a"], r["b"]) for r in read.rows] == [(0, -1), (1, None), (2, -1), (3, -1)], read.reasons
    assert read.rows[3]["time"] == datetime.fromtimestamp(AT + 3, UTC)
    assert read.position == {"topics": {topic: {"0": 4}}}


def test_protobuf_is_read(
    kafka_broker: Broker, schema_registry: Registry, topic: str, source: Callable[..., dict[str, Any]]
) -> None:
    kind = descriptor_pb2.FieldDescriptorProto
    units = descriptor_pb2.FileDescriptorProto(
        name=f"{topic}-units.proto", package=f"u{topic}", syntax="proto3"
    )
    units.message_type.add(name="Inner").field.add(name="b", number=1, type=kind.TYPE_DOUBLE, label=1)
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{topic}.proto", package=topic, syntax="proto3",
        dependency=["google/protobuf/timestamp.proto", units.name],
    )  # fmt: skip
    fields = file.message_type.add(name="Reading").field
    for i, (name, of) in enumerate(
        [
            ("time", ".google.protobuf.Timestamp"),
            ("machine", None),
            ("a", None),
            ("inner", f".u{topic}.Inner"),
        ],
        1,
    ):
        scalar = kind.TYPE_STRING if name == "machine" else kind.TYPE_DOUBLE
        fields.add(name=name, number=i, label=1, type_name=of, type=kind.TYPE_MESSAGE if of else scalar)
    pool = descriptor_pool.Default()
    for each in (units, file):
        pool.Add(each)
    reading = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{topic}.Reading"))
    client = SchemaRegistryClient({"url": schema_registry.url})
    settings = {"subject.name.strategy.type": "TOPIC", "use.deprecated.format": False}
    write = ProtobufSerializer(reading, client, settings)
    sent = []
    for i in range(3):
        value = reading(machine="p1", a=i)
        value.time.FromSeconds(AT + i)
        if i:
            value.inner.b = -i
        sent.append(write(value, SerializationContext(topic, MessageField.VALUE)))
    kafka_broker.send(topic, sent)
    read = drain(stream(source("protobuf")))
    assert [(r["a"], r["b"]) for r in read.rows] == [(0, None), (1, -1), (2, -2)], read.reasons


def test_what_no_schema_fits_is_rejected_as_it_came_and_costs_no_other(
    kafka_broker: Broker, topic: str, source: Callable[..., dict[str, Any]], avro: Callable[..., bytes]
) -> None:
    good = avro(row(0))
    bad = [b'{"a": 1}', frame(999_999, b"x"), good[:-4], b""]
    kafka_broker.send(topic, [good, *bad, avro(row(1)), avro(row(2, machine=""))])
    read = drain(stream(source("avro")))
    assert [r["a"] for r in read.rows] == [0, 1]
    assert read.rejects["raw"].to_pylist()[:4] == bad
    assert [reason[:22] for reason in read.reasons] == [
        "begins with '7b 22 61 ", "schema 999999 is not i", "not a record of schema",
        "is empty; expected 00,", "machine: missing; expe",
    ]  # fmt: skip


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.sources.payloads.schemas.PAUSE", 4)


@pytest.mark.usefixtures("soon")
def test_a_registry_that_is_away_moves_no_position(
    kafka_broker: Broker, topic: str, source: Callable[..., dict[str, Any]], avro: Callable[..., bytes]
) -> None:
    kafka_broker.send(topic, [avro(row(i)) for i in range(5)])
    first = drain(stream(source("avro")))
    kafka_broker.send(topic, [avro(row(i)) for i in range(5, 9)])
    away = stream(source("avro", registry={"url": "http://127.0.0.1:1"}))
    with open_source(away, Path("/")) as opened:
        for _ in range(2):
            with pytest.raises(
                Unavailable, match=r"the schema registry at http://127.0.0.1:1 does not answer"
            ):
                opened.read(first.position, 100)
    back = drain(stream(source("avro")), position=first.position)
    assert [r["a"] for r in back.rows] == [5, 6, 7, 8]


class _Guarded(BaseHTTPRequestHandler):
    """A registry with one schema, that asks for a password; `status` is its answer to whoever knows it."""

    status = 200

    def do_GET(self) -> None:
        known = base64.b64encode(b"reader:canary-51c7").decode()
        allowed = self.headers["authorization"] == f"Basic {known}"
        answer = {"schema": json.dumps(AVRO)} if allowed else {"error_code": 40101, "message": "Unauthorized"}
        body = json.dumps(answer).encode()
        self.send_response(self.status if allowed else 401)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def guarded() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Guarded)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.usefixtures("soon")
def test_a_registry_that_asks_for_a_password_is_told_it_and_one_that_refuses_is_somebodys_to_mend(
    kafka_broker: Broker, topic: str, source: Callable[..., dict[str, Any]], avro: Callable[..., bytes],
    guarded: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("REGISTRY_USER", "reader")
    monkeypatch.setenv("REGISTRY_PASSWORD", "canary-51c7")
    kafka_broker.send(topic, [avro(row(1))])
    known = {"url": guarded, "user": "${env:REGISTRY_USER}", "password": "${env:REGISTRY_PASSWORD}"}
    assert [r["a"] for r in drain(stream(source("avro", registry=known))).rows] == [1]
    with pytest.raises(
        ConfigError, match=r"source.registry: the schema registry at .* refuses us: 401 Unauthorized"
    ):
        drain(stream(source("avro", registry={"url": guarded})))
    monkeypatch.setattr(_Guarded, "status", 503)
    with pytest.raises(Unavailable, match=r"the schema registry at .* fails: 503"):
        drain(stream(source("avro", registry=known)))


@pytest.mark.usefixtures("soon")
def test_an_address_that_is_no_registrys_is_no_fault_of_the_messages(
    kafka_broker: Broker, schema_registry: Registry, topic: str, source: Callable[..., dict[str, Any]],
    avro: Callable[..., bytes],
) -> None:  # fmt: skip
    kafka_broker.send(topic, [avro(row(1))])
    elsewhere = {"url": schema_registry.url.replace("/ccompat/v7", "/nowhere")}
    with pytest.raises(ConfigError, match=r"source.registry: .*expected the address that its API begins at"):
        drain(stream(source("avro", registry=elsewhere)))


def test_rejects_are_read_again_by_the_format_of_today(
    kafka_broker: Broker,
    topic: str,
    source: Callable[..., dict[str, Any]],
    avro: Callable[..., bytes],
    tmp_path: Path,
) -> None:
    """Taken for JSON first; then as Avro, under a limit that is too low; then under none."""
    kafka_broker.send(topic, [avro(row(i)) for i in range(4)] + [b"\0\0"], key="p7")

    def mended(kind: str, most: float) -> Offbeat:
        channels = [{"name": "a", "max": most}, {"name": "b", "column": "inner.b"}]
        fields = {"entity": "$key", "channels": channels}
        text = yaml.safe_dump({"kind": "sensor", "source": source(kind), "fields": fields})
        (home.configs / "streams" / "pumps.yaml").write_text(text)
        return Offbeat.open(home)

    home = kit.project(tmp_path)
    assert mended("json", 1.5).ingest("pumps")["rejected"] == 5
    again = mended("avro", 1.5)
    done = again.reread("pumps")
    assert (done["received"], done["stored"], done["rejected"]) == (4, 2, 2), (
        "2 of 4 are rejects of their own now"
    )
    assert (done["passed"], done["still_rejected"]) == (2, 3)
    left = again.rejects("pumps")
    assert sorted(reject["reason"][:10] for reject in left) == ["a: '2.0' i", "a: '3.0' i", "not JSON: "], (
        left
    )
    last = mended("avro", 9.0)
    assert last.reread("pumps")["stored"] == 2
    assert [reject["raw"] for reject in last.rejects("pumps")] == ["\0\0"]
    assert last.status()[0]["stored"] == 4
    assert last.reread("pumps")["still_rejected"] == 1
