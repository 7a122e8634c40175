"""Scores: written as often as you like, by as many as you like, stored once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from pipeline.errors import DataError
from pipeline.schemas import SCORES
from pipeline.store.scores import ScoreStore, Written

START = datetime(2026, 1, 1, tzinfo=UTC)
PART = {"channel": "a", "share": 0.5, "expected": 1.0, "actual": 2.0}


def row(second: int, entity: str = "p", **cells: Any) -> dict[str, Any]:
    moment = START + timedelta(seconds=second)
    plain = {
        "entity": entity,
        "time": moment,
        "id": None,
        "score": 0.5,
        "raw": 0.4,
        "flag": False,
        "version": 1,
    }
    return {**plain, "contributions": [PART], "date": moment.date(), **cells}


def table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=SCORES)


def test_writing_again_changes_nothing(tmp_path: Path) -> None:
    to = ScoreStore(str(tmp_path / "scores"))
    rows = table([row(s) for s in range(5)])
    assert to.write(rows) == Written(added=5)
    version = to.version()
    assert to.write(rows) == Written(same=5)
    assert to.version() == version
    assert to.read() == rows


@pytest.mark.parametrize(
    "change",
    [
        {"score": 0.6}, {"score": None}, {"raw": 9.0}, {"flag": True}, {"contributions": None},
        {"contributions": []}, {"contributions": [PART, PART]}, {"contributions": [{**PART, "channel": "b"}]},
        {"contributions": [{**PART, "actual": None}]}, {"contributions": [{**PART, "share": 0.1}]},
    ],
)  # fmt: skip
def test_a_changed_row_is_replaced_and_others_are_left(tmp_path: Path, change: dict[str, Any]) -> None:
    to = ScoreStore(str(tmp_path / "scores"))
    to.write(table([row(0), row(1), row(2)]))
    changed = table([row(1, **change), row(2), row(3)])
    assert to.write(changed) == Written(added=1, changed=1, same=1)
    assert to.write(changed) == Written(same=3)
    assert to.read() == table([row(0), row(1, **change), row(2), row(3)])


def test_noise_below_tolerance_is_no_change(tmp_path: Path) -> None:
    to = ScoreStore(str(tmp_path / "scores"))
    to.write(table([row(0, score=0.5), row(1, score=float("nan"))]))
    assert to.write(table([row(0, score=0.5 + 4e-7), row(1, score=None)])) == Written(same=2)


def test_transactions_of_one_moment_are_told_apart_by_id(tmp_path: Path) -> None:
    to = ScoreStore(str(tmp_path / "scores"))
    assert to.write(table([row(0, id="a"), row(0, id="b"), row(0, id=""), row(0)])).added == 4
    assert to.write(table([row(0, id="b", score=3.0), row(0)])) == Written(changed=1, same=1)
    assert len(to.read()) == 4


def test_versions_of_a_model_stand_side_by_side(tmp_path: Path) -> None:
    to = ScoreStore(str(tmp_path / "scores"))
    to.write(table([row(0), row(5)]))
    to.write(table([row(0, version=2), row(0, "q", version=2)]))
    assert len(to.read(version=1)) == 2
    assert to.read()["version"].to_pylist() == [1, 2, 1, 2]
    assert to.latest(1) == {"p": START + timedelta(seconds=5)}
    assert to.latest(2) == {"p": START, "q": START}
    assert to.latest(3) == {}


def test_a_range_of_some_entities_and_columns(tmp_path: Path) -> None:
    to = ScoreStore(str(tmp_path / "scores"))
    assert to.read(columns=["score"]).schema.names == ["score"]
    to.write(table([row(s, e) for s in range(4) for e in "ab"]))
    found = to.read(
        START + timedelta(seconds=1), START + timedelta(seconds=3), entities=["b"], columns=["time"]
    )
    assert found["time"].to_pylist() == [START + timedelta(seconds=s) for s in (1, 2)]


def test_a_row_given_twice_or_columns_of_something_else_are_refused(tmp_path: Path) -> None:
    to = ScoreStore(str(tmp_path / "scores"))
    with pytest.raises(DataError, match="scored twice"):
        to.write(table([row(0), row(0)]))
    with pytest.raises(DataError, match="no scores"):
        to.write(pa.table({"x": [1]}))
    assert to.write(table([])) == Written()


def test_shards_that_write_at_once_all_succeed(tmp_path: Path) -> None:
    to = ScoreStore(str(tmp_path / "scores"))

    def shard(number: int) -> Written:
        rows = table([row(s, f"p{number}") for s in range(20)])
        ScoreStore(to.uri).write(rows)
        changed = [row(s, f"p{number}", score=2.0) for s in range(10)]
        return ScoreStore(to.uri).write(table([*changed, row(99, f"p{number}")]))

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(shard, range(6))) == [Written(added=1, changed=10)] * 6
    assert len(to.read()) == 6 * 21


def test_runs_that_write_the_same_at_once_store_it_once(tmp_path: Path) -> None:
    to = ScoreStore(str(tmp_path / "scores"))
    rows = table([row(s) for s in range(50)])
    with ThreadPoolExecutor(6) as pool:
        written = list(pool.map(lambda _: ScoreStore(to.uri).write(rows), range(6)))
    assert sum(w.added for w in written) == 50
    assert to.read() == rows


def test_tending_keeps_what_is_young(tmp_path: Path) -> None:
    to = ScoreStore(str(tmp_path / "scores"))
    assert to.maintain(now=START, keep=timedelta(days=1)) == {}
    for day in range(4):
        to.write(table([row(day * 86_400)]))
        to.write(table([row(day * 86_400 + 1)]))
    done = to.maintain(now=START + timedelta(days=3), keep=timedelta(days=1))
    assert done["expired_rows"] == 4
    assert done["compacted_files"] == 4
    assert len(to.read()) == 4
    assert len(DeltaTable(to.uri).file_uris()) == 2


def test_many_rows_are_compared_fast(tmp_path: Path) -> None:
    to = ScoreStore(str(tmp_path / "scores"))
    count = 100_000
    micros = np.arange(count) * 1_000_000 + int(START.timestamp() * 1e6)
    rows = pa.table(
        {
            "entity": pa.array(np.char.add("p", (np.arange(count) % 50).astype(str))),
            "time": pa.array(micros, pa.int64()).cast(SCORES.field("time").type),
            "id": pa.nulls(count, pa.string()),
            "score": pa.array(np.random.default_rng(1).random(count), pa.float32()),
            "raw": pa.nulls(count, pa.float32()),
            "flag": pa.array(np.zeros(count, bool)),
            "contributions": pa.nulls(count, SCORES.field("contributions").type),
            "version": pa.array(np.ones(count), pa.int32()),
            "date": pa.array(micros // 86_400_000_000, pa.int64()).cast(pa.int32()).cast(pa.date32()),
        }
    ).cast(SCORES)
    assert to.write(rows) == Written(added=count)
    assert to.write(rows) == Written(same=count)
