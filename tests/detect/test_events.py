"""Flags into events: where they begin, merge, peak and end."""

import itertools
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detect import events
from pipeline.detect.events import severity

MINUTE = 60_000_000
CHANNELS = ("pressure", "flow", "kind", "noise")


def at(row):
    return datetime.fromtimestamp(row * 60, UTC)


def found(score, raw=None, *, flag=None, watermark=10_000, merge=3, time=None, **more):
    score = np.asarray(score, np.float32)
    rows = len(score)
    share = np.tile(np.array([0.5, 0.2, 0.3, 0.0], np.float32), (rows, 1))
    expected = np.tile([1.0, 2.0, np.nan, 4.0], (rows, 1))
    actual = np.arange(rows)[:, None] + np.array([0.0, 0.5, np.nan, 0.0])
    return events(
        "pump-1",
        np.arange(rows) * MINUTE if time is None else np.asarray(time),
        score,
        score >= 1 if flag is None else np.asarray(flag, bool),
        score if raw is None else np.asarray(raw, np.float32),
        share,
        expected,
        actual,
        CHANNELS,
        merge_us=merge * MINUTE,
        watermark_us=watermark * MINUTE,
        **more,
    )


def test_flags_closer_than_merge_are_one_event_and_others_are_not():
    one, two = found([0, 1, 2, 0, 0, 1.2, 0, 0, 0, 1.4])
    assert (one.start, one.end, one.peak) == (at(1), at(5), at(2))
    assert (two.start, two.end) == (at(9), at(9))


def test_neighbouring_rows_belong_together_on_a_grid_coarser_than_merge():
    hours = np.arange(4) * 60 * MINUTE
    assert len(found([1, 1, 1, 1], time=hours)) == 4
    assert len(found([1, 1, 1, 1], time=hours, step_us=60 * MINUTE)) == 1


def test_an_event_starts_where_the_raw_score_first_crossed():
    (event,) = found([0.1, 0.2, 0.6, 0.9, 1.3, 1.1], raw=[1.5, 0.2, 1.1, 2.0, 3.0, 0.5])
    assert event.start == at(2)
    assert event.peak == at(4)
    assert event.peak_score == pytest.approx(1.3)


@pytest.mark.parametrize("ramp", [False, True], ids=["step", "ramp"])
def test_where_a_fault_ends_is_not_what_is_told_of_it(ramp):
    rows, begins, ends = 40, 20, 30
    normal = np.full(rows, 2.3) + 0.01 * np.sin(np.arange(rows))
    actual = normal.copy()
    actual[begins:ends] += np.linspace(0.5, 7.0, ends - begins) if ramp else 7.0
    expected = np.concatenate([normal[:1], actual[:-1]])  # a model that expects what was last seen
    raw = np.abs(actual - expected) + 1e-6
    raw[ends] *= 1.2  # the return is the worst row
    one = np.ones((rows, 1))
    flag = raw > 0.3
    (event,) = events(
        "pump-7", np.arange(rows) * MINUTE, raw, flag, raw, one, expected[:, None], actual[:, None],
        ["vibration"], merge_us=20 * MINUTE, watermark_us=0,
    )  # fmt: skip
    assert event.start <= event.peak < at(ends)
    (told,) = event.channels
    assert told.actual > told.expected, "it was high; that it came back is no fault"


def test_a_gap_is_never_flagged_nor_a_peak():
    (event,) = found([np.nan, 1.2, np.nan, 1.5, np.nan], raw=[np.nan, 2.0, np.nan, 3.0, np.nan])
    assert (event.start, event.peak, event.end) == (at(1), at(3), at(3))
    assert found([np.nan] * 5) == []
    assert found([]) == []


def test_rows_that_no_longer_show_it_belong_to_no_event_however_high_their_score():
    (event,) = found([0, 2, 3, 5, 4, 0], flag=[False, True, True, False, False, False])
    assert (event.start, event.end) == (at(1), at(2))
    assert event.peak_score == 3
    assert found([5, 5, 5], flag=[False] * 3) == []


@pytest.mark.parametrize(("watermark", "still"), [(3, True), (5, True), (6, False), (90, False)])
def test_an_event_is_open_while_a_later_flag_could_belong_to_it(watermark, still):
    (event,) = found([0, 0, 0, 2], watermark=watermark)
    assert event.open is still


def test_channels_come_largest_share_first_with_what_was_expected_and_what_came():
    (event,) = found([0, 0, 3])
    assert [c.channel for c in event.channels] == ["pressure", "kind", "flow"]  # noise had no part in it
    pressure, kind, flow = event.channels
    assert (pressure.share, pressure.expected, pressure.actual) == (0.5, 1.0, 2.0)
    assert (kind.expected, kind.actual) == (None, None)
    assert flow.actual == 2.5
    assert len(found([0, 0, 3], top=1)[0].channels) == 1


def test_an_event_names_the_transactions_it_flags():
    (event,) = found([1, 0, 2], ids=np.array(["a", "b", "c"], object))
    assert event.ids == ("a", "c")
    assert found([1])[0].ids == ()


@pytest.mark.parametrize(
    ("score", "name"),
    [(1, "low"), (1.5, "medium"), (2.9, "medium"), (3, "high"), (6, "critical"), (1e6, "critical")],
)
def test_severity_rises_with_the_peak(score, name):
    assert severity(score) == name


@settings(max_examples=80, deadline=None)
@given(
    score=st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, float("nan")]), min_size=2, max_size=60),
    cut=st.integers(0, 59),
)
def test_a_later_slice_finds_events_that_lie_in_those_of_the_whole(score, cut):
    """Events of a slice lie inside those of the whole, and cover the same flags."""
    cut %= len(score)
    whole = found(score)
    part = found(score[cut:], time=np.arange(cut, len(score)) * MINUTE)
    for event in part:
        assert [w for w in whole if w.start <= event.start and event.end <= w.end] != []
    reached = [w for w in whole if w.end >= at(cut)]
    assert len([p for p in part if p.end in {w.end for w in reached}]) == len(reached)


@settings(max_examples=40, deadline=None)
@given(score=st.lists(st.floats(0, 5, width=32), min_size=1, max_size=60), merge=st.integers(1, 10))
def test_every_flag_lies_in_one_event_and_events_lie_apart(score, merge):
    made = found(score, merge=merge)
    flags = [at(i) for i, s in enumerate(np.asarray(score, np.float32)) if s >= 1]
    assert all(sum(e.start <= f <= e.end for e in made) == 1 for f in flags)
    assert all((b.start - a.end).total_seconds() > 0 for a, b in itertools.pairwise(made))
