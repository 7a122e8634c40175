"""How fast each source reads into the store, how late, in how much memory, beside what a bare client does.

    make bench-streams
    python -m benchmarks.streams --only kafka --records 1000000

Each source runs against a real server that the bench starts. *Bare client* is the same records fetched by
its client alone (and JSON parsed by Arrow, where they are JSON), stored nowhere. *Offbeat* reads, checks and
commits them in batches of at most 50,000, as an ingest would. *Late* is from sending to the commit, for
records sent at a steady rate. Each measurement is a process of its own, which tells its memory once a second.
Those of `s3` are Parquet objects, fetched and decoded by Arrow, in a store that is simulated (moto).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.json as arrow_json

from pipeline.config.models import SensorStream, Stream, parse_stream
from pipeline.sources import open_source
from pipeline.store.observations import ObservationStore

SOURCES = ("kafka", "mqtt", "sql", "http", "s3")
RECORDS = {"kafka": 1_000_000, "mqtt": 200_000, "sql": 500_000, "http": 500_000, "s3": 1_000_000}
BATCH, START = 50_000, 1_767_225_600
STEADY, SECONDS = 5_000, 20  # records a second, and for how long


def main() -> None:
    asked = _asked()
    if asked.child:
        print(json.dumps(CHILDREN[asked.child](**json.loads(asked.arguments))))
        return
    rows = []
    for name in [asked.only] if asked.only else SOURCES:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="offbeat-bench-")))
            rows.append(measure(name, asked.records or RECORDS[name], stack, folder))
        print(json.dumps(rows[-1]), file=sys.stderr)
    print(table(rows))
    if asked.out:
        asked.out.write_text(f"# Sources\n\n{__doc__.split(chr(10) * 2)[-1].strip()}\n\n{table(rows)}\n")


def measure(name: str, count: int, stack: ExitStack, folder: Path) -> dict[str, Any]:
    """Fill a source, read it barely, read it into a store, then read what comes at a steady rate."""
    source, send = FILLERS[name](stack, folder)
    stream = _stream(source)
    (folder / "stream.json").write_text(stream.model_dump_json())
    send(0, count)
    bare = _child("bare", source=source, count=count)
    arguments = {"stream": str(folder / "stream.json"), "tables": str(folder / "tables")}
    ours = _child("offbeat", count=count, late=False, **arguments)
    steady = threading.Thread(target=_steadily, args=(send, count))
    steady.start()
    late = _child("offbeat", count=STEADY * SECONDS, late=True, **arguments)
    steady.join()
    return {
        "source": name,
        "records": count,
        "ceiling": round(count / bare["seconds"]),
        "offbeat": round(count / ours["seconds"]),
        "share": round(bare["seconds"] / ours["seconds"], 2),
        "late_p50": late["p50"],
        "late_p99": late["p99"],
        "memory": ours["memory"] + late["memory"],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return the figures as a table in Markdown."""
    columns = (
        "source", "records", "bare client, records/s", "Offbeat, records/s", "share",
        f"late at {STEADY:,}/s, p50", "p99", "memory: first, middle, last, most",
    )  # fmt: skip
    head, lines = f"| {' | '.join(columns)} |\n{'| --- ' * len(columns)}|", []
    for row in rows:
        memory = row["memory"]
        shown = [f"{memory[at]:.0f}" for at in (0, len(memory) // 2, -1)] + [f"{max(memory):.0f} MiB"]
        cells = (
            row["source"], f"{row['records']:,}", f"{row['ceiling']:,}", f"{row['offbeat']:,}",
            f"{row['share']:.0%}", f"{row['late_p50']:.2f} s", f"{row['late_p99']:.2f} s", ", ".join(shown),
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([head, *lines])


def _steadily(send: Callable[[int, int], None], first: int) -> None:
    """Send a fifth of a second's records every fifth of a second; `b` says when, in seconds since 1970."""
    began, each = time.time(), STEADY // 5
    for number in range(5 * SECONDS):
        time.sleep(max(0.0, began + number / 5 - time.time()))
        send(first + number * each, each)


def _offbeat(stream: str, tables: str, count: int, late: bool) -> dict[str, Any]:
    """Read so many records into the store; say how long it took, or how late each came."""
    made = parse_stream(Path(stream).read_text())
    store = ObservationStore(made, f"{tables}/observations", f"{tables}/rejects")
    delays: list[np.ndarray] = []
    with _memory() as memory, open_source(made, Path("/")) as source:
        state, began = store.state(), time.perf_counter()
        until = state.totals.received + count
        while state.totals.received < until:
            batch = source.read(state.position, BATCH)
            if not batch.received:
                time.sleep(0.02)
                continue
            state = store.append(state, batch.records, batch.rejects, batch.received, batch.position)
            source.stored(state.position)
            delays.append(time.time() - batch.records["b"].to_numpy())
        seconds = time.perf_counter() - began
    p50, p99 = np.quantile(np.concatenate(delays), (0.5, 0.99)) if late else (0.0, 0.0)
    return {"seconds": seconds, "p50": float(p50), "p99": float(p99), "memory": memory}


@contextmanager
def _memory() -> Iterator[list[float]]:
    """Give a list that grows by this process's memory in MiB once a second."""
    seen, over, ours = [], threading.Event(), psutil.Process()

    def look() -> None:
        while True:
            seen.append(ours.memory_info().rss / 2**20)
            if over.wait(1):
                return

    thread = threading.Thread(target=look)
    thread.start()
    yield seen
    over.set()
    thread.join()


def _bare(source: dict[str, Any], count: int) -> dict[str, Any]:
    """Fetch so many records by the bare client."""
    began = time.perf_counter()
    BARE[source["type"]](source, count)
    return {"seconds": time.perf_counter() - began}


def _parsed(payloads: list[bytes]) -> int:
    table = arrow_json.read_json(pa.BufferReader(b"\n".join(payloads) + b"\n"))
    return int(table.num_rows)


def _bare_kafka(source: dict[str, Any], count: int) -> None:
    from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": source["servers"], "group.id": "bare"})
    consumer.assign([TopicPartition(source["topics"][0], part, OFFSET_BEGINNING) for part in range(4)])
    while count > 0:
        found = [m.value() for m in consumer.consume(10_000, 0.2) if not m.error()]
        count -= _parsed(found) if found else 0
    consumer.close()


def _bare_mqtt(source: dict[str, Any], count: int) -> None:
    from paho.mqtt import client as mqtt

    held: list[bytes] = []
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="bare", clean_session=False)
    client.on_message = lambda *given: held.append(given[2].payload)
    client.connect("127.0.0.1", int(source["url"].rpartition(":")[2]))
    while count > 0:
        client.loop(0.1)
        if len(held) >= 10_000 or len(held) >= count:
            count -= _parsed(held)
            held.clear()
    client.disconnect()


def _bare_sql(source: dict[str, Any], count: int) -> None:
    import sqlalchemy as sa

    with sa.create_engine(source["url"]).connect() as connection:
        streaming = connection.execution_options(stream_results=True, yield_per=10_000)
        found = streaming.exec_driver_sql(
            f"SELECT id, time, machine, a, b FROM {source['table']} ORDER BY id"
        )
        assert sum(len(rows) for rows in found.partitions()) == count


def _bare_http(source: dict[str, Any], count: int) -> None:
    files = sorted(Path(source["folder"]).glob("*.jsonl"))
    assert sum(arrow_json.read_json(str(path)).num_rows for path in files) == count


def _bare_s3(source: dict[str, Any], count: int) -> None:
    import pyarrow.dataset as ds
    from pyarrow import fs

    store = fs.S3FileSystem(endpoint_override=source["s3"]["endpoint"])
    path = source["path"].removeprefix("s3://")
    assert ds.dataset(path, filesystem=store, format="parquet").to_table().num_rows == count


BARE = {"kafka": _bare_kafka, "mqtt": _bare_mqtt, "sql": _bare_sql, "http": _bare_http, "files": _bare_s3}
CHILDREN: dict[str, Callable[..., dict[str, Any]]] = {"bare": _bare, "offbeat": _offbeat}


def _record(i: int) -> str:
    return json.dumps({"time": START + i, "machine": f"p{i % 20}", "a": i, "b": round(time.time(), 3)})


def _kafka(stack: ExitStack, _: Path) -> tuple[dict[str, Any], Callable[[int, int], None]]:
    from confluent_kafka import Producer

    from tests.services.kafka import Broker
    from tests.services.programs import running

    broker = stack.enter_context(running(Broker))
    topic = broker.topic(4)
    producer = Producer({"bootstrap.servers": broker.servers, "linger.ms": 5, "log_level": 2})

    def send(first: int, count: int) -> None:
        for i in range(first, first + count):
            producer.produce(topic, _record(i), partition=i % 4)
            if i % 10_000 == 0:
                producer.flush()
        producer.flush()

    return {"type": "kafka", "servers": broker.servers, "topics": (topic,)}, send


def _mqtt(stack: ExitStack, _: Path) -> tuple[dict[str, Any], Callable[[int, int], None]]:
    from paho.mqtt import client as mqtt

    from tests.services.mosquitto import Mosquitto
    from tests.services.programs import running

    broker = stack.enter_context(running(lambda folder: Mosquitto(folder, "autosave_on_changes false")))
    source = {"type": "mqtt", "url": broker.url, "topics": ("bench",)}
    with open_source(_stream(source), Path("/")) as opened:
        opened.read({}, 1)  # from now on the broker keeps what comes
    bare = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="bare", clean_session=False)
    bare.on_connect = lambda client, *_: client.subscribe("bench", 1)
    bare.on_subscribe = lambda client, *_: client.disconnect()
    bare.connect("127.0.0.1", broker.port)
    bare.loop_forever()
    sender = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    sender.max_inflight_messages_set(1000)
    sender.connect("127.0.0.1", broker.port)
    sender.loop_start()

    def send(first: int, count: int) -> None:
        for begin in range(first, first + count, 20_000):
            part = range(begin, min(begin + 20_000, first + count))
            for sent in [sender.publish("bench", _record(i), 1) for i in part]:
                sent.wait_for_publish(120)

    return source, send


def _sql(stack: ExitStack, _: Path) -> tuple[dict[str, Any], Callable[[int, int], None]]:
    import sqlalchemy as sa

    from tests.services.postgres import Postgres
    from tests.services.programs import running

    engine = sa.create_engine(stack.enter_context(running(Postgres)).url)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE readings (id bigserial PRIMARY KEY, time bigint, machine text, a float8, b float8)"
        )

    def send(first: int, count: int) -> None:
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO readings (time, machine, a, b) SELECT %s + i, 'p' || i %% 20, i, %s"
                " FROM generate_series(%s::int, %s::int) i",
                (START, time.time(), first, first + count - 1),
            )

    url = engine.url.render_as_string(hide_password=False)
    return {"type": "sql", "url": url, "table": "readings", "cursor": "id", "lookback": 1000}, send


def _http(_: ExitStack, folder: Path) -> tuple[dict[str, Any], Callable[[int, int], None]]:
    """Fill the inbox as `offbeat receive` does; what its server takes is measured by tests that need one."""
    from pipeline.sources.inbox import Inbox

    inbox = Inbox(folder / "inbox")

    def send(first: int, count: int) -> None:
        for begin in range(first, first + count, 1000):
            lines = (_record(i) for i in range(begin, min(begin + 1000, first + count)))
            inbox.append("".join(f"{line}\n" for line in lines).encode())

    return {"type": "http", "token": "${env:UNUSED}", "folder": str(folder / "inbox")}, send


def _s3(stack: ExitStack, _: Path) -> tuple[dict[str, Any], Callable[[int, int], None]]:
    """Put Parquet objects of at most 100,000 records into a store that moto simulates."""
    import pyarrow.parquet as pq

    from tests.services.programs import running
    from tests.services.s3 import S3

    store = stack.enter_context(running(S3))
    os.environ.update(store.environment)
    bucket = store.bucket()

    def send(first: int, count: int) -> None:
        for begin in range(first, first + count, 100_000):
            numbers = np.arange(begin, min(begin + 100_000, first + count))
            columns = {"machine": np.char.add("p", (numbers % 20).astype(str)), "a": numbers.astype(float)}
            sent = np.full(len(numbers), time.time())
            sink = pa.BufferOutputStream()
            pq.write_table(pa.table({"time": numbers + START, **columns, "b": sent}), sink)
            store.put(bucket, f"in/{begin:09d}.parquet", sink.getvalue().to_pybytes())

    return {"type": "files", "path": f"s3://{bucket}/in", "s3": {"endpoint": store.url}}, send


FILLERS = {"kafka": _kafka, "mqtt": _mqtt, "sql": _sql, "http": _http, "s3": _s3}


def _stream(source: dict[str, Any]) -> Stream:
    fields = {"entity": "machine", "channels": [{"name": "a"}, {"name": "b"}]}
    body = {"name": "bench", "kind": "sensor", "source": source, "fields": fields}
    return SensorStream.model_validate(body, strict=False)


def _child(what: str, **arguments: Any) -> dict[str, Any]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.streams",
        "--child",
        what,
        "--arguments",
        json.dumps(arguments),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=SOURCES)
    parser.add_argument("--records", type=int, help="instead of the usual number of each source")
    parser.add_argument("--out", type=Path, help="also write the table here")
    parser.add_argument("--child", choices=list(CHILDREN), help=argparse.SUPPRESS)
    parser.add_argument("--arguments", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
