"""A bench that is killed leaves no process behind, and the next one goes on where it was."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]


def start(data, folder):
    command = [sys.executable, "-m", "benchmarks.accuracy", "--suite", "skab", "--only", "baselines"]
    command += ["--data", str(data), "--work", str(folder / "work"), "--out", str(folder / "out")]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)


def wait_for(condition, seconds=90):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_killed_bench_leaves_nothing_running_and_goes_on(data, tmp_path):
    first = start(data, tmp_path)
    try:
        wait_for(lambda: len(list(tmp_path.rglob("*.npz"))) >= 3)
        workers = psutil.Process(first.pid).children(recursive=True)
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    assert workers
    wait_for(lambda: not any(w.is_running() and w.status() != psutil.STATUS_ZOMBIE for w in workers), 20)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    assert start(data, tmp_path).wait(timeout=120) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    with (tmp_path / "out" / "accuracy.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len({(row["series"], row["method"]) for row in rows}) == 17 * 3
