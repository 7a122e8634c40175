"""A stream is late by the clock, and by how late its records usually come."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from pipeline.detect.watchdogs import Habits, Rules, State, look_at_the_clock
from pipeline.detect.watchdogs_habits import Gaps
from pipeline.detect.watchdogs_late import Lateness

MINUTE = 60_000_000
HOUR = 60 * MINUTE
START = 20_000 * 24 * HOUR


def at(minute):
    return datetime.fromtimestamp((START + minute * MINUTE) / 1e6, UTC)


def looks(*pairs, late="auto", habits=None, state=None):
    """Look at (newest record, clock) after (newest record, clock), in minutes; return the events of each."""
    state, before, out = state or State(), None, []
    for newest, now in pairs:
        state, events = look_at_the_clock(
            state,
            habits or Habits(),
            Rules("plant", late=late),
            before=None if before is None else START + before * MINUTE,
            newest=START + newest * MINUTE,
            now=START + now * MINUTE,
        )
        before = newest
        out.append(events)
    return state, out


STEADY = [(m, m + 1) for m in range(0, 300, 5)]


def test_a_declared_lateness_is_told_at_the_first_look():
    _, [(event,)] = looks((0, 31), late=30 * MINUTE)
    assert (event.kind, event.entity, event.open) == ("late", "plant", True)
    assert (event.start, event.end) == (at(0), at(31))
    assert looks((0, 30), late=30 * MINUTE)[1] == [[]]


def test_auto_learns_from_how_late_records_came_so_far():
    state, out = looks(*STEADY, (295, 300), (295, 305), (295, 307))
    assert not any(out), "a record every five minutes, seen a minute later, may be twelve minutes old"
    _, out = looks(*STEADY, (295, 302), (295, 308))
    ((event,),) = [events for events in out if events]
    assert (event.start, event.open) == (at(295), True)
    assert event.usual.total_seconds() == 360
    assert state.late.usual(START) == 6 * MINUTE


def test_auto_says_nothing_before_it_knows_the_stream():
    assert not any(looks(*STEADY[:15], (70, 500))[1])


def test_it_is_over_when_new_records_are_recent_and_one_lateness_until_then():
    _, out = looks((0, 40), (5, 45), (44, 46), (44, 47), late=30 * MINUTE)
    (first,), (second,), (third,), none = out
    assert first.start == second.start == third.start == at(0)
    assert (first.open, second.open, third.open) == (True, True, False)
    assert third.end == at(46)
    assert none == []


def test_when_nobody_looked_for_long_the_next_look_tells():
    _, out = looks(*STEADY, (295, 600), (295, 605))
    assert out[-2] == [], "the ingest may have slept as well"
    assert out[-1][0].start == at(295)


def test_gaps_that_are_usual_in_the_history_are_no_lateness():
    nights = Habits(Gaps(MINUTE, 480 * MINUTE))
    assert not any(looks(*STEADY, *[(295, m) for m in range(300, 1200, 5)], habits=nights)[1])


def test_old_data_read_again_is_late_by_as_much_as_it_always_was():
    years = 3 * 365 * 1440
    replay = [(m, m + years) for m in range(0, 300, 5)]
    assert not any(looks(*replay, (295, years + 1000), (295, years + 1005))[1])


def test_never_says_nothing_and_forgets_what_it_said():
    state, _ = looks((0, 40), late=30 * MINUTE)
    assert state.late.since is not None
    after, out = looks((0, 50), late="never", state=state)
    assert (after.late.since, out) == (None, [[]])


def test_one_weekend_off_does_not_become_usual():
    out = looks(*STEADY, (4000, 4001), *[(m, m + 1) for m in range(4005, 4200, 5)])[0]
    assert out.late.usual(START) == 6 * MINUTE


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 400)), min_size=1, max_size=60))
def test_state_survives_json_and_usual_is_a_lateness_that_was(steps):
    state, newest, now, pairs = State(), 0, 0, []
    for more, wait in steps:
        newest, now = newest + more, max(now + wait, newest + more)
        pairs.append((newest, now))
    state, _ = looks(*pairs)
    assert State.from_json(state.to_json()) == state
    usual = state.late.usual(START + now * MINUTE)
    assert usual is None or usual in {age for _, age in state.late.worst}
    assert Lateness().usual(0) is None
