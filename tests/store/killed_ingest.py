"""Ingest a folder that grows, killing the ingest again and again; then once to its end.

Usage: killed_ingest.py random FOLDER TABLES KILLS SEED: kills at random moments.
       killed_ingest.py calls FOLDER TABLES: kills at every call that reaches the tables, before and after it.

Prints how many kills hit. Children are forked from a parent that runs nothing of Arrow or Delta itself, so
that a trial costs no start of Python.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import deltalake

from pipeline import clock
from pipeline.sources import open_source
from pipeline.store import delta
from tests.sources.kit import NOW, add, sensor
from tests.store.ingest_kit import store

LIMIT = 60
PATCHED = [(delta, "write_deltalake"), (delta, "dataset"), (delta, "find"), (deltalake.DeltaTable, "create")]


def ingest(folder: Path, tables: Path) -> None:
    stream = sensor(folder, [{"name": "a", "max": 1e6}, {"name": "b"}])
    target = store(tables, stream)
    with clock.frozen(NOW):
        source, state, more = open_source(stream, Path("/")), target.state(), True
        while more:
            batch = source.read(state.position, LIMIT)
            state = target.append(state, batch.records, batch.rejects, batch.received, batch.position)
            more = batch.more


def forked(run: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        run()
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def ended(pid: int) -> bool:
    """Wait for a child; say whether it was killed. Any other failure ends the test."""
    status = os.waitpid(pid, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        sys.exit("the ingest itself failed")
    return os.WIFSIGNALED(status)


def grow(folder: Path, trial: int, rng: random.Random) -> None:
    """Add lines to a file, cut in the middle of one; the cut line's rest comes first the next time."""
    lines = [f"2026-02-01T{trial // 60:02d}:{trial % 60:02d}:{i:02d}Z,grown,{trial},{i}\n" for i in range(60)]
    text = "".join(lines)
    cut = rng.randrange(1, len(text))
    held = folder / ".held"
    before = held.read_text() if held.exists() else ""
    add(folder / "grown.csv", before + text[:cut])
    held.write_text(text[cut:])


def at_random(folder: Path, tables: Path, kills: int, seed: int) -> int:
    rng, hits, longest = random.Random(seed), 0, 0.3
    for trial in range(kills):
        grow(folder, trial, rng)
        pid = forked(lambda: ingest(folder, tables))
        time.sleep(rng.uniform(0, longest))
        os.kill(pid, signal.SIGKILL)
        hit = ended(pid)
        hits += hit
        # the span is kept such that ingests get some way, and mostly not to their end
        longest *= 1.05 if hit else 0.7
    add(folder / "grown.csv", (folder / ".held").read_text())
    return hits


def at_every_call(folder: Path, tables: Path) -> int:
    call = 1
    while True:
        shutil.rmtree(tables, ignore_errors=True)
        killed = ended(forked(partial(doomed, folder, tables, call)))
        if not killed:
            return call - 1
        ended(forked(lambda: ingest(folder, tables)))
        ended(forked(lambda: check(tables)))
        call += 1


def doomed(folder: Path, tables: Path, call: int) -> None:
    die_at(call)
    ingest(folder, tables)


def check(tables: Path) -> None:
    """Every record and every reject of the folder once, every one of them counted once."""
    done = store(tables)
    totals = done.state().totals
    assert (totals.received, totals.stored, totals.duplicate, totals.rejected) == (150, 135, 5, 10), totals
    assert done.read().num_rows == 135
    assert done.rejects().num_rows == 10


def die_at(call: int, patched: Sequence[tuple[Any, str]] = PATCHED) -> None:
    left = [call]

    def tick() -> None:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(inner: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            tick()
            found = inner(*args, **kwargs)
            tick()
            return found

        return wrapper

    for owner, name in patched:
        setattr(owner, name, counted(getattr(owner, name)))


if __name__ == "__main__":
    how, where, into = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if how == "calls":
        print(at_every_call(where, into))
    else:
        print(at_random(where, into, int(sys.argv[4]), int(sys.argv[5])))
        ended(forked(lambda: ingest(where, into)))
