"""Every reading outside a declared limit belongs to an event, and none inside does."""

import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.detect.watchdogs_range import outside

MINUTE = 60_000_000
LIMITS = {"pressure": (0.0, 10.0), "heat": (None, 80.0)}


def at(minute):
    return datetime.fromtimestamp(minute * 60, UTC)


def found(limits=LIMITS, merge=3, judged=None, ids=None, **channels):
    values = {name: np.array(column, float) for name, column in channels.items()}
    time = np.arange(len(next(iter(values.values())))) * MINUTE
    until = int(time[-1]) if judged is None else judged * MINUTE
    return outside("pump-1", time, values, limits, merge=merge * MINUTE, judged=until, ids=ids)


def test_readings_outside_that_are_close_are_one_event_and_others_are_not():
    one, two = found(pressure=[5, 11, 12, 5, 13, 5, 5, 5, 5, -1, 5], judged=100)
    assert (one.start, one.end, one.peak, one.open) == (at(1), at(4), at(4), False)
    assert (two.start, two.end) == (at(9), at(9))
    assert (one.kind, one.entity) == ("range", "pump-1")


def test_it_names_the_channels_outside_and_the_limit_each_crossed():
    (event,) = found(pressure=[5, 15, 5], heat=[20, 100, 20])
    pressure, heat = event.channels
    assert (pressure.channel, pressure.actual, pressure.expected) == ("pressure", 15, 10)
    assert (heat.channel, heat.actual, heat.expected) == ("heat", 100, 80)
    assert pressure.share == pytest.approx(0.5 / 0.75)
    (below,) = found(pressure=[-4])
    assert below.channels[0].expected == 0
    assert below.peak_score == pytest.approx(1.4)


def test_what_may_go_on_is_open():
    assert found(pressure=[5, 11, 5])[0].open
    assert not found(pressure=[11, 5, 5, 5, 5])[0].open


def test_the_limit_itself_and_no_reading_are_no_violation():
    assert found(pressure=[0, 10, math.nan]) == []
    assert found(limits={}, pressure=[99]) == []
    assert found(limits={"other": (0, 1)}, pressure=[99]) == []


def test_a_transaction_over_the_limit_names_its_id():
    (event,) = found(limits={"amount": (None, 500.0)}, amount=[20, 900, 30], ids=np.array(["x", "y", "z"]))
    assert event.ids == ("y",)


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=60),
    st.floats(-50, 0),
    st.floats(1, 50),
    st.integers(0, 10),
)
def test_every_reading_outside_is_in_one_event_and_events_are_apart(values, low, high, merge):
    events = found(limits={"x": (low, high)}, merge=merge, x=values)
    wrong = [at(i) for i, v in enumerate(values) if v < low or v > high]
    covered = [sum(e.start <= moment <= e.end for e in events) for moment in wrong]
    assert covered == [1] * len(wrong)
    assert all(e.start in wrong and e.end in wrong and e.peak in wrong for e in events)
    assert all(b.start - a.end > timedelta(minutes=merge) for a, b in pairwise(events))
    assert all(math.isfinite(e.peak_score) and e.peak_score >= 1 for e in events)
    assert all(math.isclose(sum(c.share for c in e.channels), 1) for e in events)
