"""Promises of the split: by time, one global moment, nothing learned from is judged; shards are stable."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import NotEnoughData
from pipeline.prepare import Windows, cut_time, new_preparer, shard, split

MINUTE = 60_000_000


def prepared(make, rows=400):
    names = ["a"] * rows + ["b"] * rows
    seconds = np.concatenate([np.arange(rows) * 60, np.arange(rows) * 60 + 6000])
    values = np.random.default_rng(0).normal(size=2 * rows)
    table = make.readings(names, seconds, values)
    preparer = new_preparer(make.sensor(1)).fit(table)
    return table, preparer, preparer.transform(table)


@settings(max_examples=30, deadline=None)
@given(holdout=st.floats(0.1, 0.8), embargo=st.integers(8, 20))
def test_no_judged_window_shares_a_row_with_training(make, holdout, embargo):
    table, _, series = prepared(make)
    parts = split(series, cut_time(table, holdout), embargo * MINUTE, 8)
    trained = {(s.entity, t) for s in parts.train for t in s.time.tolist()}
    assert max(t for _, t in trained) < parts.cut
    windows = Windows(parts.held_out, 8, 1, step_us=MINUTE, since=parts.since)
    assert windows.end_time.min() >= parts.cut + embargo * MINUTE
    for which, end in zip(windows.series_index, windows.end, strict=True):
        s = parts.held_out[which]
        assert end >= 7  # has its whole history
        assert not {(s.entity, t) for t in s.time[end - 7 : end + 1].tolist()} & trained


def test_the_cut_leaves_the_asked_share_of_rows_after_it(make):
    table, _, _ = prepared(make)
    time = np.array(table["time"].cast("int64"))
    assert (time >= cut_time(table, 0.3)).mean() == pytest.approx(0.3, abs=0.01)


def test_the_cut_is_the_same_moment_for_all_entities(make):
    table, _, series = prepared(make)
    parts = split(series, cut_time(table, 0.5), 0, 8)
    assert {s.entity for s in parts.train} == {s.entity for s in parts.held_out} == {"a", "b"}
    assert len(parts.train[0]) > len(parts.train[1])


def test_too_little_history_is_said_so(make):
    table, _, series = prepared(make, rows=20)
    with pytest.raises(NotEnoughData, match="after"):
        split(series, cut_time(table, 0.3), 10_000 * MINUTE, 8)
    with pytest.raises(NotEnoughData, match="before"):
        split(series, 0, 0, 8)
    with pytest.raises(NotEnoughData):
        cut_time(table.slice(0, 0), 0.3)


def test_a_held_out_transaction_looks_back_at_its_history_but_only_later_ones_are_judged(make):
    table = make.payments(400, days=20, entities=3)
    preparer = new_preparer(make.cards()).fit(table)
    cut = cut_time(table, 0.4)
    parts = split(preparer.transform(table), cut, 86_400_000_000, 8)
    windows = Windows(parts.held_out, 8, 1, step_us=None, since=parts.since)
    assert windows.end_time.min() >= cut + 86_400_000_000
    assert (windows.end >= 7).all()
    assert all(s.time.max() < cut for s in parts.train)


def test_shards_are_spread_and_the_same_in_every_process():
    names = [f"machine-{i}" for i in range(1000)]
    mine = [shard(n, 7) for n in names]
    assert set(mine) == set(range(7))
    assert max(np.bincount(mine)) < 200
    code = "from pipeline.prepare import shard; print([shard(f'machine-{i}', 7) for i in range(1000)])"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == str(mine)
