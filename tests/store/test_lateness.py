"""Every entity has its own watermark: what is below it is late, by how much, and what that may change."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import Conflict
from pipeline.store import observations
from pipeline.store.lateness import Arrival
from pipeline.store.observations import ObservationStore
from tests.store.ingest_kit import START, keys, put, readings, store

LATENESS = 600  # seconds: the default


def second(number: int) -> object:
    return START + timedelta(seconds=number)


def test_a_machine_that_lags_behind_the_others_is_not_late(tmp_path: Path) -> None:
    to = store(tmp_path)
    state = put(to, to.state(), readings([("a", 5000), ("b", 10)]))
    state = put(to, state, readings([("b", 20), ("c", 0), ("a", 5001)]))
    assert (state.totals.late, state.totals.too_late) == (0, 0)
    assert to.arrivals(after=1) == {
        "a": Arrival(second(5001), False),
        "b": Arrival(second(20), False),
        "c": Arrival(second(0), False),
    }


def test_late_and_too_late_are_told_apart(tmp_path: Path) -> None:
    to = store(tmp_path)
    state = put(to, to.state(), readings([("a", 5000), ("b", 5000), ("c", 5000)]))
    late = [("a", 5000 - LATENESS), ("a", 5000 - LATENESS - 1), ("b", 1), ("c", 4999), ("c", 5002)]
    state = put(to, state, readings(late))
    assert (state.totals.stored, state.totals.late, state.totals.too_late) == (8, 4, 2)
    assert to.arrivals(after=1) == {
        "a": Arrival(second(5000 - LATENESS), True),
        "c": Arrival(second(4999), True),
    }
    assert to.arrivals(after=2) == {}
    assert not any(arrival.late for arrival in to.arrivals(after=0).values())


def test_rows_of_one_batch_are_not_late_for_each_other(tmp_path: Path) -> None:
    to = store(tmp_path)
    state = put(to, to.state(), readings([("a", 5000), ("a", 1), ("a", 4000)]))
    assert state.totals.late == 0


ROWS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3000)), min_size=1, max_size=6, unique=True)


@given(batches=st.lists(ROWS, min_size=2, max_size=4))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_late_is_what_a_plain_count_says(tmp_path_factory, batches) -> None:
    to = store(tmp_path_factory.mktemp("late"))
    state, stored, late, too_late = to.state(), {}, 0, 0
    for rows in batches:
        fresh = [(e, s) for e, s in rows if s not in stored.get(e, ())]
        tops = {e: max(seconds) for e, seconds in stored.items()}
        late += sum(e in tops and s < tops[e] for e, s in fresh)
        too_late += sum(e in tops and s < tops[e] - LATENESS for e, s in fresh)
        for e, s in fresh:
            stored.setdefault(e, set()).add(s)
        state = put(to, state, readings(rows))
    assert (state.totals.late, state.totals.too_late) == (late, too_late)


def test_what_is_read_again_is_added_once_and_counted_once(tmp_path: Path) -> None:
    to = store(tmp_path)
    before = put(to, to.state(), readings([("a", 1), ("a", 3)]))
    assert to.add(readings([("a", 1), ("a", 2), ("a", 3)])) == 1
    after = to.state()
    assert (after.position, after.totals.received, after.totals.duplicate) == (before.position, 3, 0)
    assert to.add(readings([("a", 1), ("a", 2), ("a", 3)])) == 0
    assert to.state() == after
    assert keys(to) == [("a", 1), ("a", 2), ("a", 3)]


def test_a_live_ingest_that_commits_first_is_no_reason_to_give_up(tmp_path: Path, monkeypatch) -> None:
    to, tries = store(tmp_path), []
    put(to, to.state(), readings([("a", 1)]))
    append = ObservationStore.append

    def raced(self, before, *rest):
        tries.append(before.batch)
        if len(tries) < 3:
            raise Conflict("another was first")
        return append(self, before, *rest)

    monkeypatch.setattr(observations.ObservationStore, "append", raced)
    assert to.add(readings([("a", 2)])) == 1
    assert len(tries) == 3
