"""Record alerts and deliver them in a child that is killed at random, again and again, until all are out.

Usage: deliver_forever.py FOLDER WEBHOOK_URL SECRET KILLS; prints how many anomalies there were.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipeline import clock, log
from pipeline.alerts.deliver import deliver
from pipeline.alerts.log_receiver import LogReceiver
from pipeline.alerts.webhook_receiver import WebhookReceiver
from pipeline.config.receivers import Delivery
from pipeline.events import Context, Contribution, Event
from pipeline.store import anomalies
from pipeline.store.database import open_database
from pipeline.store.leases import cursor
from pipeline.store.outbox import Outbox

START = datetime(2026, 3, 1, tzinfo=UTC)
LEASE = timedelta(seconds=1.5)


def event(number: int, goes_on: bool) -> Event:
    start = START + timedelta(minutes=10 * number)
    end = start + timedelta(minutes=1 if goes_on else 2)
    parts = (Contribution("x", 1.0, 0.0, 1.0),)
    return Event(f"pump-{number}", start, end, start, 2.0, "high", parts, goes_on)


def work(folder: Path, url: str, secret: str, count: int, ready: int | None = None) -> None:
    """Record one anomaly after the other, each open and then closed, delivering all the while."""
    engine = open_database(f"sqlite:///{folder}/offbeat.db")
    box = Outbox(engine)
    receivers = {
        "hook": WebhookReceiver(url, secret, timedelta(seconds=5)),
        "log": LogReceiver(folder / "alerts"),
    }
    context = Context(merge=timedelta(minutes=1))
    policy = Delivery(backoff=timedelta(seconds=0.05), backoff_max=timedelta(seconds=0.2))
    done = cursor(engine, "pumps", "flag").get("done", 0)
    if ready is not None:
        os.write(ready, b"!")
    while done < 2 * count or box.waiting():
        if done < 2 * count:
            seen = [
                event(n, goes_on=n == (done + 1) // 2) for n in range(max(done // 2, 0), (done + 1) // 2 + 1)
            ]
            seen = [each for each in seen if each.entity != f"pump-{count}"]
            done += 1
            anomalies.record(
                engine,
                "pumps",
                seen,
                now=clock.now(),
                receivers=("hook", "log"),
                context=context,
                cursor=("flag", {"done": done}),
            )
        deliver(box, receivers, policy, lease=LEASE)
        if done >= 2 * count:
            time.sleep(0.02)


def child(folder: Path, url: str, secret: str, count: int) -> tuple[int, int]:
    """Fork a child that works until `count` anomalies are out; return it, and a pipe that says it began."""
    begun, ready = os.pipe()
    pid = os.fork()
    if pid:
        os.close(ready)
        return pid, begun
    try:
        work(folder, url, secret, count, ready)
    except BaseException as error:  # noqa: BLE001
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def main(folder: Path, url: str, secret: str, kills: int) -> None:
    log.configure(level=50)
    dice = random.Random(int(os.environ.get("OFFBEAT_SEED", time.time_ns())))
    work(folder, url, secret, 1)  # imports and caches, once for all children
    for number in range(kills):
        pid, begun = child(folder, url, secret, 10**9)
        if number % 5:  # one in five is killed while it starts
            os.read(begun, 1)
        time.sleep(dice.uniform(0.0, 0.2))
        os.kill(pid, signal.SIGKILL)
        os.close(begun)
        if not os.WIFSIGNALED(os.waitpid(pid, 0)[1]):
            sys.exit("the child ended by itself")
    engine = open_database(f"sqlite:///{folder}/offbeat.db")
    count = cursor(engine, "pumps", "flag")["done"] // 2 + 1
    engine.dispose()
    if os.waitpid(child(folder, url, secret, count)[0], 0)[1]:
        sys.exit("the last child failed")
    print(count)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
