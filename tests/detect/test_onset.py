"""Promises of onsets: where something begins, once, and nothing of what goes on."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detect import onsets
from pipeline.detect.onset import FRESH


def usual(rows=3000, seed=0):
    return np.random.default_rng(seed).uniform(0.5, 1.5, rows)


def test_a_fault_that_lasts_is_one_onset():
    joint = usual()
    joint[1000:1400] = 20.0
    over = np.flatnonzero(onsets(joint) >= 1)
    assert over.tolist() == [1000]


def test_nothing_unusual_has_no_onset():
    assert onsets(usual()).max() < 1


def test_a_second_fault_counts_when_the_first_is_long_past_or_was_smaller():
    joint = usual()
    joint[1000], joint[1000 + FRESH + 1], joint[1000 + FRESH + 9] = 20.0, 20.0, 30.0
    assert np.flatnonzero(onsets(joint) >= 1).tolist() == [1000, 1000 + FRESH + 1, 1000 + FRESH + 9]


def test_what_happens_often_is_no_onset():
    joint = usual(9000)
    joint[::20] = 10.0 + usual(450, seed=1)
    later = onsets(joint)[2000:]
    assert later.max() < 1.15
    joint[8000] = 60.0
    assert onsets(joint)[8000] > 4


def test_what_goes_as_far_within_a_thousandth_is_the_same():
    joint = usual()
    joint[1000:1100] = 20 * (1 + 1e-4 * np.arange(100) / 100)
    assert (onsets(joint) >= 1).sum() == 1


@settings(max_examples=40, deadline=None)
@given(joint=st.lists(st.floats(0, 1e6) | st.just(float("nan")), max_size=200), cut=st.integers(0, 200))
def test_an_onset_is_finite_and_knows_no_later_row(joint, cut):
    rows = np.array(joint, float)
    whole = onsets(rows)
    assert whole.dtype == np.float32
    assert np.isfinite(whole).all()
    assert (whole >= 0).all()
    assert (whole[np.isnan(rows)] == 0).all()
    assert whole[:cut].tolist() == onsets(rows[:cut]).tolist()
