"""Kill brokers and readers while records flow, then count: nothing lost, nothing doubled.

`python -m benchmarks.streams_killed kafka --records 1000000 --brokers 20 --readers 50` and the same of `mqtt`
(200,000). A producer sends records that are all different; meanwhile the broker is killed and started again,
and so is the process that reads them into a store, with SIGKILL, at random moments. At the end the store
must hold each record once. Kafka is killed as it stands. Mosquitto is ended by SIGTERM: it keeps sessions in
memory, and what it loses by SIGKILL it has lost for everybody.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from pipeline import log
from pipeline.config.models import SensorStream, Stream, parse_stream
from pipeline.errors import OffbeatError
from pipeline.sources import open_source
from pipeline.steps.ingest import advance
from pipeline.store.observations import ObservationStore

START = 1_767_225_600
PARTS = 4


def main() -> None:
    asked = _asked()
    if asked.what == "read":
        read(parse_stream(Path(asked.stream).read_text()), Path(asked.tables))
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="offbeat-killed-")))
        broker, stream, send = (_kafka if asked.what == "kafka" else _mqtt)(stack, asked.records, asked.rate)
        (folder / "stream.json").write_text(stream.model_dump_json())
        began = time.perf_counter()
        producer = threading.Thread(target=send, daemon=True)
        producer.start()
        kills = _torment(folder, broker, producer, asked)
        reader = _reader(folder)
        store = _store(stream, folder / "tables")
        while store.state().totals.stored < asked.records and time.perf_counter() - began < asked.seconds:
            time.sleep(1)
        time.sleep(3)  # whatever would come twice, comes
        reader.kill()
        reader.wait()
        report(store, asked, kills, time.perf_counter() - began)


def report(
    store: ObservationStore, asked: argparse.Namespace, kills: tuple[int, int], seconds: float
) -> None:
    """Print what is there, against what was sent."""
    found, totals = store.read(columns=["a"])["a"], store.state().totals
    distinct = len(pc.unique(found))
    print(
        json.dumps(
            {
                "source": asked.what,
                "sent": asked.records,
                "stored": len(found),
                "lost": asked.records - distinct,
                "doubled": len(found) - distinct,
                "came_twice": totals.duplicate,
                "rejected": totals.rejected,
                "broker_kills": kills[0],
                "reader_kills": kills[1],
                "seconds": round(seconds, 1),
            }
        )
    )
    sys.exit(0 if len(found) == distinct == asked.records else 1)


def read(stream: Stream, tables: Path) -> None:
    """Read for ever, as an ingest that is started again and again would."""
    log.configure(level=logging.ERROR)
    store = _store(stream, tables)
    while True:
        try:
            with open_source(stream, Path("/")) as source:
                while True:
                    advance(source, store, store.state(), 50_000)
        except OffbeatError:
            time.sleep(0.2)


def _torment(
    folder: Path, broker: Any, producer: threading.Thread, asked: argparse.Namespace
) -> tuple[int, int]:
    """Kill the broker and the reader so many times, each from a thread of its own."""
    rng, done = random.Random(asked.seed), [0, 0]

    def brokers() -> None:
        while done[0] < asked.brokers:
            time.sleep(rng.uniform(0.5, 6))
            broker.kill()
            time.sleep(rng.uniform(0, 1))
            broker.start()
            done[0] += 1

    def readers() -> None:
        while done[1] < asked.readers:
            process = _reader(folder)
            time.sleep(rng.uniform(1, 6))
            process.send_signal(signal.SIGKILL)
            process.wait()
            done[1] += 1

    threads = [threading.Thread(target=brokers), threading.Thread(target=readers)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(5)
        print(
            f"kills: broker {done[0]}, reader {done[1]}; still sending: {producer.is_alive()}",
            file=sys.stderr,
        )
    producer.join()
    return done[0], done[1]


def _reader(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.streams_killed", "read", "--stream", folder / "stream.json"]
    return subprocess.Popen([*command, "--tables", folder / "tables"], env=os.environ)


def _store(stream: Stream, tables: Path) -> ObservationStore:
    return ObservationStore(stream, str(tables / "observations"), str(tables / "rejects"))


def _stream(source: dict[str, Any]) -> Stream:
    body = {
        "name": "killed",
        "kind": "sensor",
        "source": source,
        "fields": {"entity": "machine", "channels": [{"name": "a"}]},
    }
    return SensorStream.model_validate(body, strict=False)


def record(i: int) -> str:
    """Return a record that differs from all others."""
    return json.dumps({"time": START + i, "machine": f"p{i % PARTS}", "a": i})


def _kafka(stack: ExitStack, records: int, rate: float) -> tuple[Any, Stream, Any]:
    from confluent_kafka import Producer

    from tests.services.kafka import Broker
    from tests.services.programs import running

    broker = stack.enter_context(running(Broker))
    topic = broker.topic(PARTS)
    settings = {
        "bootstrap.servers": broker.servers, "enable.idempotence": True, "message.timeout.ms": 600_000,
        "linger.ms": 5, "log_level": 2,
    }  # fmt: skip

    def send() -> None:
        producer = Producer(settings)
        for i in range(records):
            while True:
                try:
                    producer.produce(topic, record(i), partition=i % PARTS)
                    break
                except BufferError:
                    producer.poll(0.5)
            if i % 500 == 0:
                producer.poll(0)
                time.sleep(500 / rate)
        while producer.flush(60):
            pass

    return broker, _stream({"type": "kafka", "servers": broker.servers, "topics": (topic,)}), send


def _mqtt(stack: ExitStack, records: int, rate: float) -> tuple[Any, Stream, Any]:
    from paho.mqtt import client as mqtt

    from tests.services.mosquitto import Mosquitto
    from tests.services.programs import running

    broker = stack.enter_context(running(lambda folder: Mosquitto(folder, "autosave_on_changes false")))
    stream = _stream({"type": "mqtt", "url": broker.url, "topics": ("killed/readings",)})
    with open_source(stream, Path("/")) as source:
        source.read({}, 1)  # from now on the broker keeps what comes

    def send() -> None:
        client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id="sender", clean_session=False, protocol=mqtt.MQTTv311
        )
        done = [0]

        def count(*_: Any) -> None:
            done[0] += 1

        client.on_publish = count  # the broker has acknowledged one; what it has not is sent again
        client.reconnect_delay_set(1, 1)
        client.max_inflight_messages_set(200)
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        for i in range(records):
            client.publish("killed/readings", record(i), 1)
            if i % 500 == 0:
                time.sleep(500 / rate)
            while i - done[0] > 5000:
                time.sleep(0.01)
        while done[0] < records:
            time.sleep(0.1)
        client.disconnect()
        client.loop_stop()

    return broker, stream, send


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", nargs="?", default="kafka", choices=["kafka", "mqtt", "read"])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--brokers", type=int, default=20, help="kills of the broker")
    parser.add_argument("--readers", type=int, default=50, help="kills of the reader")
    parser.add_argument("--seconds", type=float, default=1200, help="wait at most so long for the end")
    parser.add_argument(
        "--rate", type=float, default=5000, help="records a second, that it lasts as long as kills"
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--stream", help=argparse.SUPPRESS)
    parser.add_argument("--tables", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
