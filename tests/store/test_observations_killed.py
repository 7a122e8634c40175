"""Guarantee 1: an ingest killed anywhere loses no record and doubles none."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sources.kit import HEADER, write
from tests.store.ingest_kit import store

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("OFFBEAT_TEST_KILLS", "50"))


def run(*arguments: object) -> int:
    program = Path(__file__).with_name("killed_ingest.py")
    done = subprocess.run(
        [sys.executable, program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def rows(entity: str, count: int) -> Iterator[str]:
    for i in range(count):
        yield f"2026-01-01T{i // 60:02d}:{i % 60:02d}:00Z,{entity},{i},1\n"


def test_killed_at_random_again_and_again_nothing_is_lost_and_nothing_doubled(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    clean, packed = list(rows("clean", 400)), list(rows("packed", 300))
    dirty = [*rows("dirty", 300)]
    dirty[10::10] = [f"x,dirty,{i},1\n" for i in range(len(dirty[10::10]))]
    objects = [{"time": 1767225600 + i, "machine": "json", "a": i, "b": None} for i in range(200)]
    write(folder / "a.csv", HEADER + "".join(clean))
    write(folder / "b.csv.gz", gzip.compress((HEADER + "".join(packed)).encode()))
    write(folder / "c.csv", HEADER + "".join(dirty))
    write(folder / "d.jsonl", "".join(json.dumps(o) + "\n" for o in objects) + "{\n" * 10)
    write(folder / "again.csv", HEADER + "".join(clean[:100]))
    write(folder / "grown.csv", HEADER)

    hits = run("random", folder, tmp_path, KILLS, 7)

    assert hits > KILLS / 4, "too few kills hit to prove anything"
    to = store(tmp_path)
    found = to.read(columns=["entity", "time"]).to_pydict()
    keys = list(zip(found["entity"], found["time"], strict=True))
    wrong = len(dirty[10::10]) + 10
    stored = 400 + 300 + 300 - len(dirty[10::10]) + 200 + 60 * KILLS
    assert len(keys) == len(set(keys)) == stored
    totals = to.state().totals
    assert (totals.stored, totals.duplicate, totals.rejected) == (stored, 100, wrong)
    assert totals.received == stored + 100 + wrong
    assert len(to.rejects()) == wrong


def test_killed_at_every_call_that_reaches_the_tables(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    lines = list(rows("p", 135))
    write(folder / "a.csv", HEADER + "".join(lines[:70]) + "x,p,1,1\n" * 10)
    write(folder / "b.csv", HEADER + "".join(lines[65:]))
    assert run("calls", folder, tmp_path / "t") > 20


@pytest.mark.parametrize("kind", ["observations", "rejects"])
def test_nothing_is_left_half_written(tmp_path: Path, kind: str) -> None:
    """Files that a killed run left behind are in no version of the table."""
    folder = tmp_path / "in"
    write(folder / "a.csv", HEADER + "".join(rows("p", 65)) + "x,p,1,1\n" * 10)
    write(folder / "grown.csv", HEADER)
    run("random", folder, tmp_path, 3, 1)
    stray = tmp_path / "tables" / kind / "date=2026-01-01" / "stray.parquet"
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_bytes(b"half")
    assert len(store(tmp_path).read()) == 65 + 180
    assert len(store(tmp_path).rejects()) == 10
