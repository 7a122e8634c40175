"""The live path, from Kafka to stored scores and to a webhook: how fast, how late, and in how much memory.

    make bench-live
    python -m benchmarks.live --rate 5000 --seconds 600

200 machines of 10 channels report once a second of their own time to a real broker; `offbeat run` works on
them in a process of its own with a champion that the pipeline's own steps have trained. *Sustained* is a
backlog that is read, stored and scored as fast as it goes. *Steady* is records that come at a set rate, from
another process; after 20 seconds, in which ours starts, every two seconds a machine breaks, and an alert is
late by the time from the sending of the first broken record to the arrival of its signed webhook. *Memory* is
that of the live process once a second, and its slope by least squares, with standard error, after the first
third.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from standardwebhooks.webhooks import Webhook

from pipeline.home import Home
from pipeline.steps import Offbeat

MACHINES, CHANNELS = 200, 10
PARTS = 1  # time runs up to a hundred times faster here, and so would a difference between partitions
HISTORY = 3000  # seconds of each machine that are learned from
BROKEN = 20  # seconds of its own time that a machine stays broken
LEAD = 20  # seconds of ours before the first fault
APART = 2.0  # seconds of ours from one fault to the next
START = 1_767_225_600
SECRET = "whsec_" + base64.b64encode(b"offbeat measures how late it is.").decode()

STREAM = """
kind: sensor
source: {{type: kafka, servers: "{servers}", topics: [{topic}]}}
fields:
  entity: machine
  time: {{column: time, format: s}}
  channels: [{channels}]
grid: {{step: 1s}}
window: {{length: 16, stride: 4, delay: 3}}
model: {{units: [16], latent: 6, epochs: 4, max_windows: 20000}}
alert: {{false_alarms: 1/day, merge: 1m, receivers: [hook]}}
lateness: 30s
watch: {{silence: never, late: never, flatline: never}}
schedules: {{ingest: never, train: never, score: never, watch: never}}
"""
ALERTS = (
    "receivers: {{hook: {{type: webhook, url: '${{env:BENCH_HOOK}}', secret: '${{env:BENCH_SECRET}}'}}}}\n"
)


def main() -> None:
    """Measure, print, and write the table."""
    asked = _asked()
    if asked.child:
        CHILDREN[asked.child](*json.loads(asked.arguments))
        return
    from tests.services.kafka import Broker
    from tests.services.programs import running

    with running(Broker) as broker, tempfile.TemporaryDirectory(prefix="offbeat-bench-") as folder:
        hook = _Hook()
        with hook.listening() as url:
            os.environ |= {"BENCH_HOOK": url, "BENCH_SECRET": SECRET}
            bench = _Bench(Path(folder), broker, hook)
            bench.train()
            found = [bench.sustained(asked.backlog)]
            found += [bench.steady(rate, asked.seconds) for rate in asked.rate]
    text = report(found)
    print(text)
    if asked.out:
        about = "\n\n".join((__doc__ or "").split("\n\n")[2:]).strip()
        asked.out.write_text(f"# Live\n\n{about}\n\n{text}\n")


@dataclass
class _Bench:
    """One project, one broker, one receiver."""

    folder: Path
    broker: Any
    hook: _Hook
    topic: str = ""
    sent: int = 0  # seconds of the machines' own time

    def train(self) -> None:
        """Send a history and train on it by the pipeline's own steps."""
        self.topic = self.broker.topic(PARTS)
        configs = self.folder / "configs" / "streams"
        configs.mkdir(parents=True)
        channels = ", ".join(f"{{name: c{c}}}" for c in range(CHANNELS))
        text = STREAM.format(servers=self.broker.servers, topic=self.topic, channels=channels)
        (configs / "plant.yaml").write_text(text)
        (configs.parent / "alerts.yaml").write_text(ALERTS.format())
        self.produce(0, HISTORY).wait()
        self.sent = HISTORY
        _offbeat(self.folder, "ingest", "plant").check_returncode()
        _offbeat(self.folder, "train", "plant").check_returncode()

    def produce(self, first: int, seconds: int, rate: int = 0, faults: bool = False) -> subprocess.Popen[str]:
        """Start a producer of so many seconds of the machines' time."""
        given = [self.broker.servers, self.topic, first, seconds, rate, faults]
        command = [sys.executable, "-m", "benchmarks.live", "--child", "produce"]
        return subprocess.Popen(
            [*command, "--arguments", json.dumps(given)], stdout=subprocess.PIPE, text=True
        )

    def sustained(self, records: int) -> dict[str, Any]:
        """Let a backlog be read, stored and scored; time it from the first commit to the last score."""
        seconds = records // MACHINES
        self.produce(self.sent, seconds).wait()
        self.sent += seconds
        with self.live() as seen:
            self.wait_for_scores(self.sent - 10, 600)
        begin, end = seen[0].at, seen[-1].at
        return {"what": "sustained", "rate": records / (end - begin), "seconds": end - begin, "seen": seen}

    def steady(self, rate: int, seconds: int) -> dict[str, Any]:
        """Send at a rate, with faults; return how late each alert was."""
        count = rate * seconds // MACHINES
        with self.live() as seen:
            producer = self.produce(self.sent, count, rate, faults=True)
            said = producer.communicate()[0]
            self.sent += count
            self.wait_for_scores(self.sent - 10, 60)
            time.sleep(3)
        faults = dict(json.loads(said.splitlines()[-1]))
        late = [at - faults[name] for name, at in self.hook.firing() if name in faults]
        return {
            "what": "steady",
            "rate": rate,
            "seconds": seconds,
            "late": late,
            "faults": len(faults),
            "seen": seen,
        }

    def wait_for_scores(self, until: int, patience: float) -> None:
        """Wait until the scores reach a second of the machines' time."""
        home = Home(self.folder / "home", self.folder)
        work, ends = Offbeat.open(home), time.monotonic() + patience
        from pipeline.steps.score import shard_name
        from pipeline.store.leases import cursor

        name = shard_name(work.stream("plant"), 0)
        while cursor(work.database, "plant", name).get("watermark", "") < _moment(START + until):
            if time.monotonic() > ends:
                raise SystemExit("the scores did not come in time")
            time.sleep(0.1)

    @contextmanager
    def live(self) -> Iterator[list[_Seen]]:
        """Run the stream live; give a list of what its process looked like, once a second."""
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", "run", "plant"], env=_environment(self.folder)
        )
        seen, over = [], threading.Event()
        ours = psutil.Process(process.pid)

        def look() -> None:
            while not over.wait(1) and process.poll() is None:
                times = ours.cpu_times()
                seen.append(_Seen(time.time(), ours.memory_info().rss / 2**20, times.user + times.system))

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield seen
        finally:
            over.set()
            thread.join()
            process.terminate()
            process.wait(60)


@dataclass(frozen=True)
class _Seen:
    """A process at a moment: its memory in MiB and its seconds of CPU."""

    at: float
    memory: float
    cpu: float


@dataclass
class _Hook:
    """A receiver of signed webhooks, which notes when each came."""

    came: list[tuple[str, str, float]] = field(default_factory=list)

    def firing(self) -> list[tuple[str, float]]:
        """Return entity and time of each alert that said that something is wrong."""
        return [(entity, at) for event, entity, at in self.came if event == "firing"]

    @contextmanager
    def listening(self) -> Iterator[str]:
        """Listen; give the address."""
        came = self.came

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                at = time.time()
                said = Webhook(SECRET).verify(body, dict(self.headers))
                came.append((said["type"].rpartition(".")[2], said["data"]["anomaly"]["entity"], at))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def produce(servers: str, topic: str, first: int, seconds: int, rate: int, faults: bool) -> None:
    """Send every machine's readings of some seconds, at a rate or as fast as it goes; print the faults.

    A fault takes two channels of one machine far away for `BROKEN` seconds; each machine has one at most.
    """
    from confluent_kafka import Producer

    rng, broken, told = np.random.default_rng(first), {}, []
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 5, "log_level": 2})
    began, every = time.time(), max(int(APART * rate / MACHINES), 1) if rate else 0
    order = rng.permutation(MACHINES).tolist()
    for second in range(first, first + seconds):
        if rate:
            time.sleep(max(0.0, began + (second - first) * MACHINES / rate - time.time()))
        ready = (second - first) * MACHINES > LEAD * rate
        if faults and every and ready and (second - first) % every == every // 2 and order:
            broken[order[-1]] = second + BROKEN
            told.append((f"m{order.pop()}", time.time()))
        for machine, text in enumerate(_texts(second, rng, {m for m, end in broken.items() if second < end})):
            producer.produce(topic, text, partition=machine % PARTS)
        while len(producer) > 50_000:
            producer.poll(0.1)
        producer.poll(0)
    producer.flush()
    print(json.dumps(told))


def _texts(second: int, rng: np.random.Generator, broken: set[int]) -> Iterator[str]:
    phase = np.arange(MACHINES)[:, None] / 7 + np.arange(CHANNELS)[None] / 3
    values = np.sin(2 * np.pi * second / 60 + phase) + rng.normal(0, 0.05, (MACHINES, CHANNELS))
    for machine in broken:
        values[machine, :2] += 4
    for machine, row in enumerate(np.round(values, 4).tolist()):
        channels = ", ".join(f'"c{c}": {value}' for c, value in enumerate(row))
        yield f'{{"time": {START + second}, "machine": "m{machine}", {channels}}}'


CHILDREN = {"produce": produce}


def report(found: list[dict[str, Any]]) -> str:
    """Return the figures in Markdown."""
    lines = [
        "| what | records/s | seconds | alerts of faults | late p50 | p95 | p99 | CPU of the live process |"
        " memory, first to last | slope |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in found:
        seen: list[_Seen] = one["seen"]
        late = one.get("late", [])
        quantiles = [f"{q:.2f} s" for q in np.quantile(late, (0.5, 0.95, 0.99))] if late else ["–"] * 3
        cpu = (seen[-1].cpu - seen[0].cpu) / (seen[-1].at - seen[0].at)
        cells = [
            one["what"], f"{one['rate']:,.0f}", f"{one['seconds']:.0f}",
            f"{len(late)} of {one['faults']}" if "faults" in one else "–", *quantiles, f"{cpu:.0%} of a core",
            f"{seen[0].memory:.0f} to {seen[-1].memory:.0f} MiB", _slope(seen[len(seen) // 3 :]),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _slope(seen: list[_Seen]) -> str:
    if len(seen) < 10:
        return "–"
    at, memory = np.array([s.at for s in seen]), np.array([s.memory for s in seen])
    (slope, _), covariance = np.polyfit((at - at[0]) / 60, memory, 1, cov=True)
    return f"{slope:+.2f} ± {np.sqrt(covariance[0, 0]):.2f} MiB/min"


def _environment(folder: Path) -> dict[str, str]:
    ours = {"OFFBEAT_HOME": "home", "OFFBEAT_PROJECT": "", "OFFBEAT_CONFIGS": "configs"}
    return os.environ | {name: str(folder / below) for name, below in ours.items()}


def _offbeat(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments], env=_environment(folder), check=False
    )


def _moment(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rate", type=int, nargs="*", default=[5000], help="records a second, steadily")
    parser.add_argument("--seconds", type=int, default=60, help="of each steady run")
    parser.add_argument(
        "--backlog", type=int, default=400_000, help="records that wait for the sustained run"
    )
    parser.add_argument("--out", type=Path, help="also write the table here")
    parser.add_argument("--child", choices=list(CHILDREN), help=argparse.SUPPRESS)
    parser.add_argument("--arguments", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
