"""Levels say what the table says, also after late records, merges and compaction; and are made once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from pipeline import schemas
from pipeline.store import pyramid
from pipeline.store.pyramid import LEVELS, Pyramid
from pipeline.store.scores import ScoreStore

START = datetime(2026, 1, 1, 22, tzinfo=UTC)
END = START + timedelta(hours=5)


def rows(first: int, seconds: int, *, version: int = 1, lift: float = 0.0) -> pa.Table:
    time = [START + timedelta(seconds=s) for s in range(first, first + seconds, 7)]
    value = np.random.default_rng(first).normal(size=len(time)).astype(np.float32) + lift
    return pa.table(
        {
            "entity": [f"m{k % 2}" for k in range(len(time))],
            "time": pa.array(time, schemas.TIME),
            "id": pa.nulls(len(time), pa.string()),
            "score": value,
            "raw": value,
            "flag": value > 1,
            "contributions": pa.nulls(len(time)),
            "version": np.full(len(time), version, np.int32),
            "date": pa.array([t.date() for t in time], pa.date32()),
        }
    ).cast(schemas.SCORES)


@pytest.fixture
def uri(tmp_path) -> str:
    where = str(tmp_path / "scores")
    ScoreStore(where).write(rows(0, 4 * 3600))
    return where


def opened(uri: str, tmp_path, **more: object) -> Pyramid:
    return Pyramid(uri, tmp_path / "levels", ("score",), **more)


def made(uri: str, tmp_path) -> list[str]:
    """Make what is missing; return which days that were."""
    found = opened(uri, tmp_path)
    missing = found.missing(found.days(START, END))
    for day in missing:
        found.build(day)
    return [str(day.day) for day in missing]


def expected(table: pa.Table, width: int) -> dict[tuple[str, int], tuple[float, float, int]]:
    found: dict[tuple[str, int], list[float]] = {}
    for row in table.to_pylist():
        key = (row["entity"], int(row["time"].timestamp()) // width * width)
        found.setdefault(key, []).append(row["score"])
    return {k: (min(v), max(v), len(v)) for k, v in found.items()}


def stored(uri: str, tmp_path, width: int) -> dict[tuple[str, int], tuple[float, float, int]]:
    level = opened(uri, tmp_path).read(START, END, width).to_pylist()
    return {
        (r["entity"], int(r["time"].timestamp())): (r["score.min"], r["score.max"], r["count"]) for r in level
    }


@pytest.mark.parametrize("width", LEVELS)
def test_a_level_has_least_and_most_of_each_bucket(uri: str, tmp_path, width: int) -> None:
    assert made(uri, tmp_path) == ["2026-01-01", "2026-01-02"]
    assert stored(uri, tmp_path, width) == expected(rows(0, 4 * 3600), width)


def test_levels_are_made_once_and_again_only_for_days_that_changed(uri: str, tmp_path) -> None:
    made(uri, tmp_path)
    assert made(uri, tmp_path) == []
    ScoreStore(uri).write(rows(4 * 3600, 600))
    assert made(uri, tmp_path) == ["2026-01-02"]
    whole = pa.concat_tables([rows(0, 4 * 3600), rows(4 * 3600, 600)])
    assert stored(uri, tmp_path, 60) == expected(whole, 60)


def test_scores_of_the_newest_version_count(uri: str, tmp_path) -> None:
    again = rows(0, 4 * 3600, version=2, lift=5.0)
    ScoreStore(uri).write(again)
    made(uri, tmp_path)
    assert stored(uri, tmp_path, 3600) == expected(again, 3600)


def test_a_merge_and_a_compaction_are_followed_and_old_levels_swept(uri: str, tmp_path) -> None:
    made(uri, tmp_path)
    ScoreStore(uri).write(rows(0, 3600, lift=3.0))  # replaces
    DeltaTable(uri).optimize.compact()
    assert "2026-01-01" in made(uri, tmp_path)
    seen = opened(uri, tmp_path)
    seen.sweep()
    assert len(list((tmp_path / "levels" / "60").iterdir())) == 2
    part = seen.read(START, START + timedelta(hours=1), 3600)
    assert {(r["entity"], r["score.max"]) for r in part.to_pylist()} == {
        (e, most) for (e, _), (_, most, _) in expected(rows(0, 3600, lift=3.0), 3600).items()
    }


def test_one_entity_or_all_as_one(uri: str, tmp_path) -> None:
    made(uri, tmp_path)
    mine = opened(uri, tmp_path).read(START, END, 60, entity="m1")
    assert set(mine["entity"].to_pylist()) == {"m1"}
    together = Pyramid(uri, tmp_path / "together", ("score",), entities=False)
    for day in together.days(START, END):
        together.build(day)
    level = together.read(START, END, 3600)
    assert set(level["entity"].to_pylist()) == {""}
    assert sum(level["count"].to_pylist()) == len(rows(0, 4 * 3600))


def test_killed_while_it_writes_a_level_is_made_again(uri: str, tmp_path, monkeypatch) -> None:
    whole, seen = pyramid._write, []

    def dying(*arguments: object) -> None:
        seen.append(arguments)
        if len(seen) == 2:
            raise KeyboardInterrupt
        whole(*arguments)

    monkeypatch.setattr(pyramid, "_write", dying)
    with pytest.raises(KeyboardInterrupt):
        made(uri, tmp_path)
    monkeypatch.setattr(pyramid, "_write", whole)
    assert made(uri, tmp_path) == ["2026-01-01", "2026-01-02"]
    assert stored(uri, tmp_path, 3600) == expected(rows(0, 4 * 3600), 3600)


def test_a_table_that_is_not_there_has_no_days(tmp_path) -> None:
    nothing = opened(str(tmp_path / "none"), tmp_path)
    assert (nothing.version, nothing.days(START, END)) == (-1, [])
    assert len(nothing.read(START, END, 60)) == 0
