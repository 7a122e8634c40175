"""Many real processes with threads at one MLflow: imported once, then forked, so that all start at once.

Usage: crowd.py VERB TRACKING ARTIFACTS STREAM PROCESSES THREADS; each thread prints one line of JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import OffbeatError
from pipeline.registry import Registry
from tests.registry.conftest import SCHEMA, a_bundle

SLOW = (
    "alembic.command",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.system_metrics.system_metrics_monitor",
    "sqlalchemy.dialects.sqlite",
)


Work = Callable[[Registry, str, int], object]


def promote(registry: Registry, stream: str, number: int) -> object:
    return registry.promote(stream, number, f"by process {number}", over=None).version


def first(registry: Registry, stream: str, number: int) -> object:
    with registry.run(stream) as run:
        run.epoch({"epoch": 1, "loss": number})
    return run.experiment


def forever(registry: Registry, stream: str, number: int) -> object:
    while True:
        folder = a_bundle(registry.artifacts / "made" / f"{os.getpid()}-{time.monotonic_ns()}")
        with registry.run(stream) as run:
            version = run.bundle(folder, SCHEMA)
        champion = registry.champion(stream)
        registry.promote(stream, version, "next", over=champion.version if champion else None)
        os.write(1, f"{version}\n".encode())


def say(work: Work, registry: Registry, number: int) -> None:
    try:
        said: dict[str, object] = {"ok": work(registry, sys.argv[4], number)}
    except OffbeatError as error:
        said = {"error": type(error).__name__, "text": str(error)}
    os.write(1, (json.dumps(said) + "\n").encode())  # one write: lines of children don't mix


def child(work: Work, numbers: range, gate: int, ready: int) -> None:
    registry = Registry(sys.argv[2], Path(sys.argv[3]))
    if work is promote:
        registry.champion(sys.argv[4])  # opening takes longest: promotions then meet
    os.write(ready, b".")
    os.read(gate, 1)  # ends when the parent closes the other end: at once for all
    threads = [threading.Thread(target=say, args=(work, registry, number)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    work = {"promote": promote, "first": first, "forever": forever}[sys.argv[1]]
    processes, each = int(sys.argv[5]), int(sys.argv[6])
    for module in SLOW:  # before the forks; nothing is opened yet
        importlib.import_module(module)
    gate, start = os.pipe()
    counted, ready = os.pipe()
    for process in range(processes):
        if os.fork() == 0:
            os.close(start)
            child(work, range(process * each + 1, (process + 1) * each + 1), gate, ready)
            os._exit(0)
    for _ in range(processes):
        os.read(counted, 1)
    os.close(start)
    for _ in range(processes):
        os.wait()


if __name__ == "__main__":
    main()
