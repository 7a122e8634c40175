"""Ingest goes on while its table is tended, and a full disk is a stop, not a loss."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pyarrow as pa

from pipeline.errors import Conflict
from pipeline.store.observations import State
from tests.sources.kit import HEADER, write
from tests.store.ingest_kit import START, bad, keys, put, readings, store

DAY = timedelta(days=1)
LIMITED = """
import resource, signal, sys
from pathlib import Path
from tests.store.killed_ingest import ingest
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
ingest(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_ingest_and_tending_at_once(tmp_path: Path) -> None:
    to, stop = store(tmp_path), threading.Event()
    state = put(to, to.state(), readings([("p", 0)]), bad(0))

    def tend() -> None:
        while not stop.is_set():
            with suppress(Conflict):
                store(tmp_path).maintain(now=START + DAY, observations=DAY * 9, rejects=DAY * 9)

    thread = threading.Thread(target=tend)
    thread.start()
    try:
        for second in range(1, 25):
            rows, rejects = readings([("p", second), ("p", second - 1)]), bad(second)
            while (after := _tried(tmp_path, rows, rejects)) is None:
                pass
            state = after
    finally:
        stop.set()
        thread.join()
    assert keys(to) == [("p", s) for s in range(25)]
    assert to.state() == state
    assert (state.totals.stored, state.totals.duplicate, state.totals.rejected) == (25, 24, 25)
    assert to.rejects()["position"].to_pylist() == list(range(25))


def _tried(folder: Path, rows: pa.Table, rejects: pa.Table) -> State | None:
    to = store(folder)
    try:
        return put(to, to.state(), rows, rejects)
    except Conflict:
        return None


def test_a_disk_that_is_full_stops_ingest_and_loses_nothing(tmp_path: Path) -> None:
    """Files may not grow beyond some bytes, as on a disk that is full; later, ingest must go on."""
    folder = tmp_path / "in"
    lines = [f"2026-01-01T{i // 60:02d}:{i % 60:02d}:00Z,p,{i},1\n" for i in range(300)]
    write(folder / "a.csv", HEADER + "".join(lines) + "x,p,1,1\n" * 10)
    root, failed = str(Path(__file__).parents[2]), 0
    for limit in (0, 100, 1000, 2000, 3000, 10**9):
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, folder, tmp_path, str(limit)],
            env={**os.environ, "PYTHONPATH": root},
            capture_output=True,
            text=True,
            check=False,
        )
        failed += done.returncode != 0
        assert done.returncode == 0 or "errors.Unavailable" in done.stderr, done.stderr
    totals = store(tmp_path).state().totals
    assert failed >= 3
    assert (totals.received, totals.stored, totals.duplicate, totals.rejected) == (310, 300, 0, 10)
    assert len(store(tmp_path).rejects()) == 10
