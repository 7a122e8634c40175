"""What people said of the history, in learning: nothing that is masked gets in, and what is normal does."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from pipeline import learning
from pipeline.config.models import parse_stream
from pipeline.prepare import Feedback, Stretch
from pipeline.schemas import TIME
from pipeline.scoring import Rows
from tests.test_learning import MINUTE, START, history, stream, waves

ROWS = 3000
SPOTS = (700, 2500)
"""Rows where something was: one in what is learned from, one in what is held out."""


def said(why, entity="a"):
    return tuple(Stretch(entity, START + at * MINUTE, START + (at + 30) * MINUTE, why) for at in SPOTS)


def cut(feedback, garbage=0.0, **model):
    channels = waves(ROWS)
    for at in SPOTS:
        channels["a"][at : at + 30] += garbage
    plant = stream("ab", **model)
    records = feedback.records(history(plant, **channels))
    parts = learning._cut(plant, records, None, feedback)
    return plant, parts, learning._pair(plant, parts, None)


def everything(windows):
    return windows.gather(slice(None))


@pytest.mark.parametrize("entity", ["a", "*"])
def test_nothing_of_what_is_masked_gets_into_what_is_learned_from(entity):
    quiet, loud = (cut(Feedback(masked=said("missed", entity)), garbage) for garbage in (0.0, 1000.0))
    for one, other in zip(quiet[2][:2], loud[2][:2], strict=True):
        for left, right in zip(everything(one), everything(other), strict=True):
            np.testing.assert_array_equal(left, right)
    assert quiet[1].preparer.to_dict() == loud[1].preparer.to_dict()
    unmasked = cut(Feedback(), 1000.0)
    assert not np.array_equal(everything(unmasked[2][0])[0], everything(loud[2][0])[0])


def test_no_window_that_touches_what_is_masked_is_learned_from():
    _, _, (learn, _, _) = cut(Feedback(masked=said("confirmed")))
    row = (learn.end_time - START) // MINUTE
    assert not ((row >= SPOTS[0]) & (row - 15 < SPOTS[0] + 30)).any()
    assert (everything(learn.subset(row >= 15))[1] == 1).all(), "none of those left has a gap in it"
    assert len(learn) > 350


def test_rows_that_touch_what_is_masked_are_not_calibrated_on():
    plant, parts, _ = cut(Feedback(masked=said("maintenance")))
    for series in parts.judge.held_out:
        rows = Rows(series, np.ones((1, len(series), 2), np.float32), series.actual)
        row = (series.time - START) // MINUTE
        touched = (row >= SPOTS[1]) & (row - 15 < SPOTS[1] + 30)
        kept = learning._blanked(plant, parts, rows).errors
        assert np.isnan(kept[:, touched]).all()
        assert np.isfinite(kept[:, ~touched]).all()


def test_what_is_normal_is_learned_from_wherever_it_lies_and_repeated_within_bounds():
    plain = cut(Feedback())[2]
    _, _, (learn, stop, repeats) = cut(Feedback(normal=said("false_alarm")))
    row = (learn.end_time - START) // MINUTE
    held_out = (row >= SPOTS[1]) & (row - 15 < SPOTS[1] + 30)
    assert held_out.sum() == repeats * 11, "stretches of 30 rows and windows of 16, each four rows"
    assert 1 < repeats <= learning.MOST_REPEATS
    added = len(learn) - len(plain[0])
    assert added <= learning.NORMAL_SHARE * len(plain[0])
    np.testing.assert_array_equal(stop.end_time, plain[1].end_time)


def test_what_was_a_fault_and_a_false_alarm_is_masked():
    both = Feedback(masked=said("confirmed"), normal=said("false_alarm"))
    assert cut(both)[2][2] == 0


def test_without_feedback_everything_is_as_ever():
    _, parts, (learn, stop, repeats) = cut(Feedback())
    plant = stream("ab")
    assert repeats == 0
    for found, series, since in ((learn, parts.learn, None), (stop, parts.judge.train, parts.stop_since)):
        before = learning.windows_of(plant, parts.preparer, series, since)
        np.testing.assert_array_equal(found.end_time, before.end_time)
        for left, right in zip(everything(found), everything(before), strict=True):
            np.testing.assert_array_equal(left, right)


def payments(count=3000):
    rng = np.random.default_rng(0)
    return pa.table({
        "id": [f"t{i:05}" for i in range(count)],
        "entity": [f"c{i}" for i in rng.integers(0, 20, count)],
        "time": pa.array(START + np.arange(count) * MINUTE, pa.int64()).cast(TIME),
        "amount": np.round(rng.lognormal(3, 0.4, count), 2),
    })  # fmt: skip


CARDS = parse_stream(
    json.dumps(
        {
            "name": "cards",
            "kind": "transaction",
            "source": {"path": "x"},
            "fields": {"id": "id", "entity": "entity", "amount": "amount", "categories": []},
            "window": {"length": 16, "stride": 1, "delay": 0},
        }
    )
)


def test_a_cards_false_alarms_are_learned_from_and_its_frauds_are_not():
    day = 1440 * MINUTE
    fraud = Stretch("c1", START, START + day, "confirmed")
    honest = Stretch("c2", START + day, START + 3 * day, "false_alarm")
    made = {}
    for name, said_ in (("plain", Feedback()), ("said", Feedback((fraud,), (honest,)))):
        parts = learning._cut(CARDS, said_.records(payments()), None, said_)
        series = [s.entity for s in parts.whole]
        learn, stop, repeats = learning._pair(CARDS, parts, None)
        owners = [(series[i], t) for i, t in zip(learn.series_index, learn.end_time, strict=True)]
        made[name] = (owners, repeats)
        assert len(stop) > 100
    plain, (said_, repeats) = made["plain"], made["said"]
    assert plain[1] == 0
    assert any(name == "c1" and time < fraud.end for name, time in plain[0])
    assert not any(name == "c1" and time < fraud.end for name, time in said_)
    late = max(time for _, time in plain[0])
    times = [(n, t) for n, t in said_ if n == "c2" and honest.start <= t < honest.end and t > late]
    assert len(times) == repeats * len(set(times)) > 0, "also where nothing else is learned from"
