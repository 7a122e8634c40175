"""The log of a table that is written to all the time stays short, and nothing it has to tell is lost."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest

from pipeline import schemas
from pipeline.config.models import SensorStream
from pipeline.schemas import TIME
from pipeline.sources.source import REJECTED
from pipeline.store import delta
from pipeline.store.observations import ObservationStore, State

ROOT = Path(__file__).parents[2]
STREAM = SensorStream.model_validate(
    {
        "name": "plant",
        "kind": "sensor",
        "source": {"type": "files", "path": "data"},
        "fields": {"entity": "pump", "channels": [{"name": "flow"}]},
    },
    strict=False,
)
ROWS, KEEP = 50, timedelta(days=7000)
FIRST, LAST = 150, 450  # commits; memory may grow by `MOST` MiB between them
MOST = 10.0


def store(folder: Path) -> ObservationStore:
    return ObservationStore(STREAM, str(folder / "observations"), str(folder / "rejects"))


def append(to: ObservationStore, state: State, number: int) -> State:
    micros = (1_767_225_600 + number * ROWS + np.arange(ROWS)) * 1_000_000
    columns = {"entity": pa.array(["a"] * ROWS), "time": pa.array(micros).cast(TIME), "flow": np.ones(ROWS)}
    schema = schemas.records(STREAM)
    records = pa.table({name: columns[name] for name in schema.names}, schema=schema)
    return to.append(state, records, REJECTED.empty_table(), ROWS, {"number": number})


def maintain(to: ObservationStore) -> None:
    to.maintain(now=datetime.now(UTC), observations=KEEP, rejects=KEEP)


def commits(folder: Path) -> int:
    return len(list((folder / "observations" / "_delta_log").glob("*.json")))


def test_old_commits_go_and_the_state_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "LOG", {"delta.logRetentionDuration": "interval 0 seconds"})
    to = store(tmp_path)
    state = to.state()
    for number in range(30):
        state = append(to, state, number)
    maintain(to)
    assert commits(tmp_path) < 5
    assert store(tmp_path).state() == state
    assert append(store(tmp_path), state, 30).totals.stored == 31 * ROWS


def test_a_table_of_before_learns_how_long_its_log_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta, "LOG", {})
    to = store(tmp_path)
    state = append(to, to.state(), 0)
    monkeypatch.undo()
    maintain(to)
    found = delta.find(to.observations)
    assert found
    assert found.metadata().configuration == delta.LOG
    assert to.state() == state


def test_commits_that_only_others_know_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "LOG", {"delta.logRetentionDuration": "interval 0 seconds"})
    to = store(tmp_path)
    state = append(to, append(to, to.state(), 0), 1)
    table = delta.find(to.observations)
    assert table
    table.optimize.compact()  # by another tool: its commit says nothing of ours
    delta.tend(table, now=datetime.now(UTC), keep=KEEP, metadata={"offbeat.batch": "none of these"})
    assert to.state().batch in (state.batch,)


def test_memory_does_not_grow_with_the_commits_of_a_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.store.test_log", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    first, last = map(float, done.stdout.split())
    assert last - first < MOST, f"{first:.0f} MiB after {FIRST} commits, {last:.0f} MiB after {LAST}"


def _work(folder: Path) -> None:
    """Commit, maintain now and then, as a live process does, and print how much memory that takes."""
    to, ours = store(folder), psutil.Process()
    state = to.state()
    for number in range(LAST):
        if number == FIRST:
            print(ours.memory_info().rss / 2**20)
        if number % 50 == 49:
            maintain(to)
            state = to.state()
        state = append(to, state, number)
    print(ours.memory_info().rss / 2**20)


if __name__ == "__main__":
    _work(Path(sys.argv[1]))
