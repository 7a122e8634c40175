"""Silence is told of machines, by the stream's own records; what is usual comes from its history."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detect.watchdogs import Habits, Readings, Rules, State, look
from pipeline.detect.watchdogs_habits import FORTNIGHT, Gaps, lags, learn_gaps, longest_usual
from pipeline.detect.watchdogs_silence import patience
from pipeline.detect.watchdogs_state import Habit

MINUTE = 60_000_000
HOUR, DAY = 60 * MINUTE, 1440 * MINUTE
START = 20_000 * DAY
LATER = START + 1000 * DAY
RULES = Rules("plant", silence=10 * MINUTE, step=MINUTE, merge=5 * MINUTE)
APART = replace(RULES, merge=-1)  # the store joins what touches
NO_LAG = np.zeros(0, np.int64)


def at(minute):
    return datetime.fromtimestamp((START + minute * MINUTE) / 1e6, UTC)


def sent(*minutes):
    return Readings(START + np.array(minutes, np.int64) * MINUTE)


def every_minute(first, last):
    return sent(*range(first, last + 1))


def looked(*batches, rules=RULES, habits=None, now=LATER):
    """Look at batch after batch; return the state and the events of the last look."""
    state, events = State(), []
    for batch in batches:
        state, events = look(state, habits or Habits(), rules, batch, now)
    return state, events


def test_a_machine_that_sends_nothing_while_others_do_is_silent_since_its_last_record():
    _, (event,) = looked({"a": every_minute(0, 60), "b": every_minute(0, 30)})
    assert (event.kind, event.entity, event.open) == ("silence", "b", True)
    assert (event.start, event.end) == (at(30), at(60))
    assert event.peak_score == pytest.approx(3)


def test_it_is_over_when_the_machine_sends_again():
    first = {"a": every_minute(0, 60), "b": every_minute(0, 30)}
    state, (event,) = looked(first, {"a": every_minute(61, 70), "b": every_minute(65, 70)})
    assert (event.start, event.end, event.open) == (at(30), at(65), False)
    assert looked(first, {"a": every_minute(61, 70), "b": every_minute(65, 70)}, {})[1] == []
    assert not state.heard["b"].silent


def test_what_a_machine_kept_and_sends_later_ends_its_silence_too():
    first = {"a": every_minute(0, 60), "b": every_minute(0, 30)}
    _, (event,) = looked(first, {"b": every_minute(31, 61), "a": sent(61)})
    assert (event.start, event.end, event.open) == (at(30), at(60), False)


def test_when_the_whole_stream_falls_silent_no_machine_is():
    fleet = {f"m{i}": every_minute(0, 60) for i in range(50)}
    back = {f"m{i}": every_minute(600 + i % 5, 620) for i in range(50)}
    assert looked(fleet)[1] == []
    assert looked(fleet, {})[1] == []
    assert looked(fleet, back)[1] == [], "ten hours without anybody, then all of them within five minutes"


def test_the_one_that_does_not_come_back_with_the_others_is_silent():
    fleet = {f"m{i}": every_minute(0, 60) for i in range(5)}
    back = {f"m{i}": every_minute(600, 620) for i in range(1, 5)}
    _, (event,) = looked(fleet, back)
    assert (event.entity, event.start, event.open) == ("m0", at(60), True)


def test_a_stream_of_one_machine_is_late_and_never_silent():
    assert looked({"only": every_minute(0, 60)}, {"only": every_minute(300, 310)})[1] == []


def test_old_records_of_a_machine_that_is_not_here_raise_nothing():
    live = {"a": every_minute(1000, 1060)}
    state, events = looked(live, {"a": sent(1061), "old": every_minute(0, 30)})
    assert events == []
    assert "old" not in state.heard


def test_late_records_change_nothing_for_a_machine_heard_of_since():
    live = {"a": every_minute(0, 60), "b": every_minute(0, 60)}
    before, _ = looked(live)
    after, events = looked(live, {"b": sent(2, 3, 50)})
    assert (after, events) == (before, [])


def test_a_clock_that_is_ahead_makes_nobody_silent():
    now = START + 60 * MINUTE
    ahead = {"a": every_minute(0, 60), "fast": sent(*range(59), 60 + 600)}
    assert looked(ahead, now=now)[1] == []


def test_a_machine_is_forgotten_when_its_last_record_is_history():
    rules = Rules("plant", silence=10 * MINUTE, step=MINUTE, forget=DAY)
    state, events = looked({"a": sent(0, 5), "b": sent(0, 5)}, {"a": sent(*range(10, 1600, 5))}, rules=rules)
    assert set(state.heard) == {"a"}
    assert [e for e in events if e.entity == "b"] == []


def test_of_cards_nothing_is_kept_unless_their_silence_matters():
    never = Rules("cards", silence="never")
    assert looked({"card": sent(0)}, rules=never)[0].heard == {}


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 300)), min_size=1, max_size=120),
    st.lists(st.integers(0, 300), max_size=4),
)
@settings(max_examples=200, deadline=None)
def test_looking_in_slices_equals_looking_at_once(records, cuts):
    def batch(low, high):
        chosen = {name: sorted({m for n, m in records if n == name and low <= m < high}) for name in "abc"}
        return {name: sent(*minutes) for name, minutes in chosen.items() if minutes}

    edges = [0, *sorted(set(cuts) - {0}), 301]
    state, spans = State(), {}
    for low, high in pairwise(edges):
        if not (new := batch(low, high)):
            continue
        state, events = look(state, Habits(), APART, new, LATER)
        for event in events:  # an open one grows, and ends; each is one from its start on
            spans[event.entity, event.start] = (event.end, event.open)
    whole, events = look(State(), Habits(), APART, batch(0, 301), LATER)
    assert state.heard == whole.heard
    assert spans == {(e.entity, e.start): (e.end, e.open) for e in events}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 300)), max_size=60))
@settings(max_examples=100, deadline=None)
def test_state_survives_json_and_looking_again_at_the_same_raises_nothing_new(records):
    new = {n: sent(*sorted({m for k, m in records if k == n})) for n in {n for n, _ in records}}
    state, events = look(State(), Habits(), APART, new, LATER)
    assert State.from_json(state.to_json()) == state
    again, more = look(State.from_json(state.to_json()), Habits(), APART, new, LATER)
    assert again == state
    assert more == [e for e in events if e.open]


def test_a_usual_gap_comes_again_and_again_and_an_outage_does_not():
    minutes = np.array([60] * 20_000 + [8 * 3600] * 20 + [40 * 3600, 50 * 3600])
    nights = longest_usual(minutes * 1_000_000, 21 * DAY)
    assert nights == 8 * HOUR
    rare = longest_usual(np.array([MINUTE] * 5000 + [5 * HOUR, 6 * HOUR]), 21 * DAY)
    assert rare == MINUTE


@given(st.lists(st.integers(1, 10**9), min_size=20, max_size=300), st.integers(0, 40))
def test_few_lengths_are_longer_than_what_is_usual(lengths, fortnights):
    usual = longest_usual(np.array(lengths), fortnights * FORTNIGHT)
    longer = sum(length > usual for length in lengths)
    assert longer <= min(max(2, fortnights), len(lengths) / 20)
    assert usual in lengths


def test_too_little_history_says_nothing():
    assert learn_gaps(sent(*range(15)).time, NO_LAG) is None
    assert patience(None, declared=None, step=MINUTE, lateness=0) is None


def test_a_machine_of_which_nothing_is_known_is_taken_like_the_others():
    habits = Habits(None, {n: Habit(Gaps(MINUTE, g * MINUTE)) for n, g in (("a", 2), ("b", 6), ("c", 40))})
    assert habits.gaps("new") == Gaps(MINUTE, 6 * MINUTE)
    assert Habits().gaps("new") is None
    rules = Rules("plant", step=MINUTE)
    batch = {"a": every_minute(0, 60), "b": every_minute(0, 60), "new": every_minute(0, 40)}
    _, (event,) = looked(batch, habits=habits, rules=rules)
    assert event.entity == "new"
    assert event.usual.total_seconds() == 60


def test_auto_waits_a_few_steps_and_as_long_as_a_record_may_be_late():
    known = Gaps(MINUTE, 2 * MINUTE)
    assert patience(known, declared=None, step=MINUTE, lateness=0) == 5 * MINUTE
    assert patience(known, declared=None, step=MINUTE, lateness=10 * MINUTE) == 10 * MINUTE
    assert patience(Gaps(MINUTE, 8 * HOUR), declared=None, step=MINUTE, lateness=0) == 16 * HOUR
    assert patience(known, declared=3 * MINUTE, step=MINUTE, lateness=HOUR) == 3 * MINUTE


def test_a_machine_whose_files_come_an_hour_after_the_others_is_usually_an_hour_behind():
    hours = np.arange(60)
    code = np.repeat([0, 1], 60 * 60)
    time = np.concatenate([np.arange(3600), np.arange(3600)]) * MINUTE
    batch = np.concatenate([np.repeat(2 * hours, 60), np.repeat(2 * hours + 3, 60)])
    ahead, behind = lags(code, time, batch)
    assert ahead.max() <= HOUR
    assert np.median(behind) == 2 * HOUR
    one, two = (learn_gaps(time[code == c], lag) for c, lag in ((0, ahead), (1, behind)))
    assert (one.every, two.every) == (MINUTE, MINUTE)
    assert two.usual >= 2 * HOUR > one.usual


def test_history_loaded_at_once_says_nothing_of_lags():
    assert [list(each) for each in lags(np.array([0, 0, 1]), np.arange(3), np.ones(3, np.int64))] == [[], []]
    assert lags(NO_LAG, NO_LAG, NO_LAG) == []
