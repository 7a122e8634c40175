"""Feedback on a history: what is masked is gone from it, and what touches a stretch is known."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.prepare import Feedback, Stretch, touching
from pipeline.schemas import TIME

START = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp() * 1e6)


def table(entities="ab", rows=10, **more):
    time = np.tile(START + np.arange(rows), len(entities))
    names = np.repeat(list(entities), rows)
    order = np.random.default_rng(0).permutation(len(time))
    columns = {"entity": names, "time": time} | more
    made = pa.table({name: pa.array(np.asarray(column)[order]) for name, column in columns.items()})
    return made.set_column(1, "time", made["time"].cast(TIME))


def keys(found):
    return list(zip(found["entity"].to_pylist(), found["time"].cast("int64").to_pylist(), strict=True))


def stretch(entities, start, end, why="missed"):
    return Stretch(entities, START + start, START + end, why)


def test_masked_records_are_gone_and_no_others():
    found = Feedback(masked=(stretch("a", 2, 5), stretch("b*", 9, 30), stretch("c", 0, 9))).records(table())
    kept = {("a", START + t) for t in (0, 1, 5, 6, 7, 8, 9)} | {("b", START + t) for t in range(9)}
    assert set(keys(found)) == kept
    assert len(found) == len(kept)


def test_without_feedback_the_table_is_the_same_object():
    given_ = table()
    assert Feedback().records(given_) is given_
    assert Feedback().mark == ""


def test_a_record_that_has_a_label_keeps_it_and_a_false_alarm_gives_one():
    label = np.full(20, np.nan)
    label[[2, 3]] = [1.0, 0.0]  # of a, at 2 and 3
    said = Feedback(masked=(stretch("a", 2, 5),), normal=(stretch("b", 0, 2, "false_alarm"),), labelled=True)
    found = said.records(table(label=label))
    known = dict(zip(keys(found), found["label"].to_pylist(), strict=True))
    assert (known["a", START + 2], known["a", START + 3]) == (1.0, 0.0)
    assert ("a", START + 4) not in known
    assert known["b", START] == known["b", START + 1] == 0.0
    assert known["b", START + 2] is None


SPANS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10)), max_size=6)


@given(SPANS, SPANS)
def test_touching_is_overlap_with_any_stretch(stretches, spans):
    said = [Stretch("a", s, s + n, "missed") for s, n in stretches]
    first = np.array([s for s, _ in spans], dtype=np.int64)
    last = np.array([s + n for s, n in spans], dtype=np.int64)
    wanted = [
        any(s.start <= b and s.end > a for s in said if s.end > s.start)
        for a, b in zip(first, last, strict=True)
    ]
    assert touching(said, "a", first, last).tolist() == wanted
    assert not touching(said, "b", first, last).any()


def test_the_mark_names_what_was_said_in_whatever_order():
    one, two = stretch("a", 0, 1), stretch("b", 0, 1)
    assert Feedback((one, two)).mark == Feedback((two, one)).mark != Feedback((one,)).mark
    assert Feedback((one,)).mark != Feedback((), (one,)).mark
    assert Feedback((one, two)).counts() == {"confirmed": 0, "missed": 2, "maintenance": 0, "false_alarm": 0}
