"""A flat line is told of channels that move; constants, switches, commands and rests raise nothing."""

from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detect.watchdogs import Habits, Readings, Rules, State, look
from pipeline.detect.watchdogs_flatline import flats, moving, patience
from pipeline.detect.watchdogs_habits import Gaps, Runs, learn_runs
from pipeline.detect.watchdogs_state import Habit

MINUTE = 60_000_000
DAY = 1440 * MINUTE
START = 20_000 * DAY
WEEKS = 21 * 1440
RULES = Rules("plant", silence="never", flatline="auto", step=MINUTE, merge=5 * MINUTE)
QUICK = Habits(
    None,
    {"a": Habit(Gaps(MINUTE, 2 * MINUTE), {c: Runs(MINUTE, MINUTE) for c in ("flow", "heat")}, 21 * DAY)},
)


def at(minute):
    return datetime.fromtimestamp((START + minute * MINUTE) / 1e6, UTC)


def minutes(count, first=0):
    return START + np.arange(first, first + count) * MINUTE


def noise(count, seed=0):
    return np.random.default_rng(seed).normal(10, 1, count)


def read(first, **channels):
    values = {name: np.array(column, float) for name, column in channels.items()}
    return {"a": Readings(minutes(len(next(iter(values.values()))), first), values)}


def looked(*batches, habits=QUICK, rules=RULES):
    state, events = State(), []
    for batch in batches:
        state, events = look(state, habits, rules, batch, START + 1000 * DAY)
    return state, events


def test_a_channel_that_moves_and_stands_still_is_flat_from_when_it_stopped():
    _, (event,) = looked(read(0, flow=[*noise(30), *[7.5] * 60]))
    assert (event.kind, event.entity, event.open) == ("flatline", "a", True)
    assert (event.start, event.end) == (at(30), at(89))
    (channel,) = event.channels
    assert (channel.channel, channel.actual, channel.expected) == ("flow", 7.5, None)


def test_it_is_over_with_the_first_other_value():
    _, (event,) = looked(read(0, flow=[*noise(30), *[7.5] * 60]), read(90, flow=[7.5, 7.5, 7.6, 7.7]))
    assert (event.start, event.end, event.open) == (at(30), at(92), False)
    after, events = looked(read(0, flow=[*noise(30), *[7.5] * 60]), read(90, flow=[7.6]), read(91, flow=[7]))
    assert events == []
    assert not after.runs["a"]["flow"].flat


def test_missing_readings_neither_break_a_flat_line_nor_are_one():
    hole = [*[7.5] * 30, *[np.nan] * 100, *[7.5] * 30]
    _, (event,) = looked(read(0, flow=hole))
    assert (event.start, event.end) == (at(0), at(159))
    assert looked(read(0, flow=[np.nan] * 500))[1] == []


def test_two_equal_readings_with_an_outage_between_are_no_flat_line():
    first, after = read(0, flow=[*noise(30), 7.5]), read(600, flow=[7.5, 8.1])
    assert looked(first, after)[1] == []
    values = noise(WEEKS)
    values[9000:9100], values[20_000], values[30_000] = np.nan, values[20_001], values[30_001]
    real = np.isfinite(values)
    values[9100] = values[8999]
    assert learn_runs(minutes(WEEKS)[real], values[real]).usual <= 3 * MINUTE


def test_channels_of_one_machine_that_freeze_together_are_one_event():
    frozen = read(0, flow=[*noise(30), *[7.5] * 60], heat=[*noise(40), *[3.5] * 50])
    state, (event,) = looked(frozen)
    assert {c.channel for c in event.channels} == {"flow", "heat"}
    assert event.start == at(30)
    moved = read(90, flow=[7.6] * 3, heat=[3.5] * 3)
    _, (still,) = looked(frozen, moved)
    assert still.open, "the other channel is flat still"
    assert State.from_json(state.to_json()) == state


def test_a_late_reading_that_differs_says_that_it_was_not_flat():
    first = read(0, flow=[*noise(5), *[7.5] * 30])
    late = {"a": Readings(np.array([START + 15 * MINUTE + 1]), {"flow": np.array([8.0])})}
    assert looked(first, late, read(35, flow=[7.5] * 5))[1] == []
    assert len(looked(first, read(35, flow=[7.5] * 5))[1]) == 1


def test_a_channel_that_is_not_watched_any_more_ends_its_flat_line():
    frozen = read(0, flow=[*noise(30), *[7.5] * 60])
    state, _ = looked(frozen)
    _, (event,) = look(state, Habits(), RULES, read(90, flow=[7.5]), START + DAY)
    assert (event.open, event.end) == (False, at(89))


@pytest.mark.parametrize(
    "values",
    [
        np.full(WEEKS, 4.2),
        (np.arange(WEEKS) // 300) % 2,
        (np.arange(WEEKS) // 7) % 3,
        np.repeat(np.random.default_rng(1).integers(20, 60, WEEKS // 480 + 1), 480)[:WEEKS],
        np.zeros(10),
    ],
    ids=["constant", "binary", "three states", "setpoint", "too short"],
)
def test_what_does_not_move_is_not_watched(values):
    assert learn_runs(minutes(len(values)), values.astype(float)) is None


def test_two_old_freezes_are_not_taken_for_usual():
    values = noise(WEEKS)
    values[5000:5600], values[9000:9900] = 3.3, 4.4
    assert learn_runs(minutes(WEEKS), values).usual == 0


def test_a_machine_that_is_off_at_night_rests_at_its_value_and_freezes_at_any_other():
    values = noise(WEEKS)
    values[np.arange(WEEKS) % 1440 < 480] = 0.0
    usual = learn_runs(minutes(WEEKS), values)
    assert usual.rests == ((0.0, 479 * MINUTE),)
    assert usual.at(0.0) == 479 * MINUTE
    assert usual.at(7.5) == 0
    habits = Habits(None, {"a": Habit(Gaps(MINUTE, MINUTE), {"flow": usual}, 21 * DAY)})
    assert looked(read(0, flow=[*noise(5), *[0.0] * 600]), habits=habits)[1] == []
    assert len(looked(read(0, flow=[*noise(5), *[7.5] * 600]), habits=habits)[1]) == 1


def test_a_coarse_slow_channel_is_known_by_how_long_it_usually_stays():
    steps = np.cumsum(np.random.default_rng(3).choice([-1, 0, 1], WEEKS, p=[0.05, 0.9, 0.05]))
    usual = learn_runs(minutes(WEEKS), -18 + 0.1 * np.round(np.abs(steps % 40 - 20)))
    assert usual is not None
    assert 10 * MINUTE < usual.usual < 300 * MINUTE


def test_a_declared_time_counts_but_a_rest_keeps_its_own():
    runs = Runs(MINUTE, MINUTE, ((0.0, 480 * MINUTE),))
    assert patience(runs, 7.5, None) == 30 * MINUTE
    assert patience(runs, 7.5, 120 * MINUTE) == 120 * MINUTE
    assert patience(runs, 0.0, 120 * MINUTE) == 4 * 480 * MINUTE


def test_what_is_usually_flat_for_half_the_history_cannot_be_told():
    assert set(moving({"slow": Runs(MINUTE, 6 * DAY), "quick": Runs(MINUTE, MINUTE)}, 21 * DAY)) == {"quick"}


@given(
    st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=1, max_size=150),
    st.lists(st.integers(0, 150), max_size=5),
)
@settings(max_examples=200, deadline=None)
def test_following_in_slices_equals_following_at_once(values, cuts):
    moves, column = Runs(MINUTE // 4, 0), np.repeat(values, 2)
    time = minutes(len(column))
    whole, found = flats("x", None, time, column, moves, None)
    run, spans = None, {}
    edges = [0, *sorted({c for c in cuts if 0 < c < len(column)}), len(column)]
    for a, b in pairwise(edges):
        run, some = flats("x", run, time[a:b], column[a:b], moves, None)
        spans |= {f.start: (f.end, f.goes_on) for f in some}
    assert run == whole
    assert spans == {f.start: (f.end, f.goes_on) for f in found}


@given(st.lists(st.floats(-100, 100), min_size=300, max_size=400), st.data())
@settings(max_examples=50, deadline=None)
def test_nothing_in_the_history_itself_is_flat_by_more_than_its_exceptions(values, data):
    column = np.repeat(values, data.draw(st.integers(1, 4)))
    usual = learn_runs(minutes(len(column)), column)
    if usual is None:
        return
    _, found = flats("x", None, minutes(len(column)), column, usual, None)
    assert len(found) <= 2
