"""MQTT's own ways: acknowledged after the commit, sessions that stay, topics' levels, passwords, TLS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.models import SensorStream, Stream
from pipeline.errors import ConfigError, OffbeatError, Unavailable
from pipeline.sources import open_source
from pipeline.store.observations import ObservationStore
from tests.services.mosquitto import Mosquitto
from tests.services.programs import program
from tests.sources.kit import drain

ROOT = Path(__file__).parents[2]


def payload(i: int, **more: Any) -> str:
    return json.dumps({"time": 1_767_225_600 + i, "machine": "p1", "a": i, "b": 0, **more})


@pytest.fixture
def topic() -> str:
    return f"plant/{uuid.uuid4().hex[:8]}"


@pytest.fixture
def stream(mosquitto: Mosquitto, topic: str) -> Callable[..., Stream]:
    def made(fields: dict[str, Any] | None = None, **source: Any) -> Stream:
        return SensorStream.model_validate(
            {
                "name": "pumps",
                "kind": "sensor",
                "source": {
                    "type": "mqtt",
                    "url": mosquitto.url,
                    "topics": (f"{topic}/#",),
                    "session": topic.replace("/", "-"),
                    **source,
                },
                "fields": {"entity": "machine", "channels": [{"name": "a"}, {"name": "b"}], **(fields or {})},
            },
            strict=False,
        )

    return made


@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_what_is_not_acknowledged_comes_again_and_what_is_does_not(
    mosquitto: Mosquitto, topic: str, stream: Callable[..., Stream], version: str
) -> None:
    asked = stream(version=version)
    drain(asked)
    mosquitto.send(f"{topic}/p1", [payload(i) for i in range(10)])
    with open_source(asked, Path("/")) as source:
        first = source.read({}, 4)
        source.stored(first.position)
        source.read(first.position, 4)  # and never stored
    again = drain(asked, position=first.position)
    assert first.records["a"].to_pylist() == [0, 1, 2, 3]
    assert [r["a"] for r in again.rows] == [4, 5, 6, 7, 8, 9]
    assert again.position == {"messages": 10}
    assert not drain(asked, position=again.position).rows


def test_a_session_outlives_the_broker(
    mosquitto: Mosquitto, topic: str, stream: Callable[..., Stream]
) -> None:
    drain(stream())
    mosquitto.send(f"{topic}/p1", [payload(i) for i in range(1000)])
    mosquitto.kill()
    mosquitto.start()
    assert [r["a"] for r in drain(stream()).rows] == list(range(1000))


def test_levels_of_the_topic_are_columns(
    mosquitto: Mosquitto, topic: str, stream: Callable[..., Stream]
) -> None:
    asked = stream(fields={"entity": "$level.3"}, topics=(f"{topic}/+/readings", f"{topic}/+/more"))
    drain(asked)
    for name, kind in (("p7", "readings"), ("p8", "more"), ("p9", "other")):
        mosquitto.send(f"{topic}/{name}/{kind}", [payload(1)])
    assert sorted(r["entity"] for r in drain(asked).rows) == ["p7", "p8"]


def test_a_shared_subscription_divides_messages(
    mosquitto: Mosquitto, topic: str, stream: Callable[..., Stream]
) -> None:
    both = [stream(topics=(f"$share/g{topic[-3:]}/{topic}/#",), session=f"{topic[-8:]}-{n}") for n in (1, 2)]
    with open_source(both[0], Path("/")) as one, open_source(both[1], Path("/")) as other:
        one.read({}, 1)
        other.read({}, 1)
        mosquitto.send(f"{topic}/p", [payload(i) for i in range(100)])
        parts = [source.read({}, 1000).records["a"].to_pylist() for source in (one, other)]
    assert all(parts)
    assert sorted(parts[0] + parts[1]) == list(range(100))


def test_a_reject_that_comes_again_is_no_second_one(
    mosquitto: Mosquitto, topic: str, stream: Callable[..., Stream], tmp_path: Path
) -> None:
    asked = stream()
    drain(asked)
    mosquitto.send(f"{topic}/p1", ["{", payload(1)])
    store = ObservationStore(asked, str(tmp_path / "o"), str(tmp_path / "r"))
    for acknowledged in (False, True):
        with open_source(asked, Path("/")) as source:
            state = store.state()
            batch = source.read(state.position, 10)
            state = store.append(state, batch.records, batch.rejects, batch.received, batch.position)
            if acknowledged:
                source.stored(state.position)
    assert (len(store.read()), len(store.rejects()), state.totals.duplicate) == (1, 1, 1)


@pytest.mark.slow
def test_an_ingest_killed_at_every_step_loses_nothing_and_doubles_nothing(
    mosquitto: Mosquitto, topic: str, stream: Callable[..., Stream], tmp_path: Path
) -> None:
    asked = stream()
    drain(asked)
    (tmp_path / "stream.json").write_text(asked.model_dump_json())
    kills, each = 14, 100
    done = subprocess.run(
        [
            sys.executable, Path(__file__).with_name("killed_mqtt.py"), tmp_path / "stream.json",
            tmp_path / "tables", str(mosquitto.port), f"{topic}/p1", str(kills), str(each),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= kills / 2
    store = ObservationStore(asked, *(str(tmp_path / "tables" / t) for t in ("observations", "rejects")))
    assert sorted(store.read()["a"].to_pylist()) == [i for i in range(kills * each) if i % 10 != 5]
    assert len(store.rejects()) == kills * each / 10


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Mosquitto]:
    """Return a broker that speaks TLS and wants a password."""
    certificate = [
        program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
        "-keyout", "key.pem", "-out", "cert.pem",
    ]  # fmt: skip
    subprocess.run(certificate, cwd=tmp_path, check=True, capture_output=True)
    words = [program("mosquitto_passwd"), "-b", "-c", "words", "gauge-9d2e", "canary-77ab"]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    broker = Mosquitto(
        tmp_path,
        f"certfile {tmp_path}/cert.pem",
        f"keyfile {tmp_path}/key.pem",
        f"password_file {tmp_path}/words",
    )
    conf = tmp_path / "mosquitto.conf"
    conf.write_text(conf.read_text().replace("allow_anonymous true", "allow_anonymous false"))
    broker.start()
    yield broker
    broker.kill()


def test_a_broker_behind_tls_and_a_password(
    guarded: Mosquitto, stream: Callable[..., Stream], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANT_USER", "gauge-9d2e")
    monkeypatch.setenv("PLANT_PASSWORD", "canary-77ab")
    url = guarded.url.replace("mqtt:", "mqtts:")
    known = {
        "url": url,
        "authority": "cert.pem",
        "user": "${env:PLANT_USER}",
        "password": "${env:PLANT_PASSWORD}",
    }

    def read(**source: Any) -> None:
        with open_source(stream(**source), tmp_path) as opened:
            opened.read({}, 1)

    read(**known)
    with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
        read(**{**known, "authority": ""})
    with pytest.raises(ConfigError, match=r"source.user: MQTT at .* refuses us"):
        read(url=url, authority="cert.pem")
    monkeypatch.setenv("PLANT_PASSWORD", "wrong-77ab")
    with pytest.raises(ConfigError, match="refuses us") as found:
        read(**known)
    assert "wrong-77ab" not in str(found.value)
    with pytest.raises(ConfigError, match="certificates cannot be read"):
        read(**{**known, "authority": "nothing.pem"})


def test_a_broker_that_is_not_there_is_unavailable(stream: Callable[..., Stream]) -> None:
    with pytest.raises(Unavailable, match=r"MQTT at 127.0.0.1:1 does not answer"):
        drain(stream(url="mqtt://127.0.0.1:1"))


@pytest.mark.parametrize("url", ["http://x", "broker:1883", "mqtt://"])
def test_an_address_that_is_none_is_refused(stream: Callable[..., Stream], url: str) -> None:
    with pytest.raises(OffbeatError, match=r"source.url: not the address of a broker"):
        drain(stream(url=url))
