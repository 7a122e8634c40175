"""Figures of merit mean what they say: events found, alarms that touch none, and how many a day."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from pipeline.evaluation import evaluate, match


def mask(rows, *spans):
    out = np.zeros(rows, bool)
    for first, stop in spans:
        out[first:stop] = True
    return out


def judge(label, flag, entity=None, time=None, merge=0):
    rows = len(label)
    entity = np.zeros(rows, np.int64) if entity is None else entity
    time = np.arange(rows) if time is None else time
    return match(label, flag, entity, time, merge)


def test_an_event_is_found_once_however_often_it_is_flagged():
    told = judge(mask(100, (10, 30), (60, 70)), mask(100, (12, 13), (20, 22), (90, 91)), merge=1)
    assert (told.events, told.found, told.alarms, told.false_alarms) == (2, 1, 3, 1)
    assert told.f1 == pytest.approx(2 * 1 / (1 + 2 + 1))


def test_flags_near_each_other_are_one_alarm():
    flags = mask(100, (40, 41), (45, 46), (80, 81))
    assert judge(mask(100), flags, merge=4).alarms == 3
    assert judge(mask(100), flags, merge=5).alarms == 2


def test_an_alarm_that_spans_an_event_finds_it_and_is_not_false():
    told = judge(mask(100, (42, 44)), mask(100, (40, 41), (45, 46)), merge=10)
    assert (told.found, told.false_alarms) == (1, 0)


def test_entities_are_judged_apart():
    entity = np.repeat([0, 1], 50)
    told = judge(
        mask(100, (45, 55)), mask(100, (49, 51)), entity=entity, time=np.tile(np.arange(50), 2), merge=1000
    )
    assert (told.events, told.found, told.alarms) == (2, 2, 2)


def test_event_f1_of_perfect_flags_is_one_and_of_none_zero():
    label = mask(200, (5, 9), (100, 130))
    assert judge(label, label).f1 == 1
    assert judge(label, mask(200)).f1 == 0


def test_figures_count_what_was_judged():
    label, score = mask(400, (100, 120)), np.linspace(0, 0.9, 400)
    score[[110, 300, 301]] = 2
    told = evaluate(
        label,
        score,
        score >= 1,
        entity=np.zeros(400, np.int64),
        time=np.arange(400),
        merge_us=1,
        days=0.5,
        signal=score,
    )
    assert (told.rows, told.anomalous, told.events, told.found, told.alarms) == (400, 20, 1, 1, 2)
    assert told.false_alarms_a_day == 2.0
    assert told.average_precision == pytest.approx(average_precision_score(label, score))
    assert 0 < told.vus_pr < 1


def test_where_nothing_is_wrong_there_is_nothing_to_rank_but_false_alarms_count():
    told = evaluate(
        mask(50),
        np.full(50, 2.0),
        ~mask(50),
        entity=np.zeros(50, np.int64),
        time=np.arange(50),
        merge_us=1,
        days=1,
        signal=None,
    )
    assert (told.average_precision, told.vus_pr, told.event_f1) == (None, None, None)
    assert told.false_alarms_a_day == 1
