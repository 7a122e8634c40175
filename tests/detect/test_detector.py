"""Errors into scores: on one scale, high is anomalous, the same in any slice, and never a surprise."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.detect import Detector
from pipeline.errors import BundleError, DataError, NotEnoughData

RNG = np.random.default_rng(11)
NORMAL = (RNG.normal(size=(4000, 4)) ** 2).astype(np.float32)
ERRORS = arrays(
    np.float32,
    st.tuples(st.integers(1, 120), st.just(4)),
    elements=st.one_of(st.floats(0, 1e3, width=32), st.sampled_from([np.nan, np.inf, 0.0, np.float32(3e38)])),
)


@pytest.fixture(scope="module")
def detector(sim):
    return sim.fitted(NORMAL)


@settings(max_examples=60, deadline=None)
@given(errors=ERRORS, cuts=st.lists(st.integers(1, 119), max_size=5))
def test_scoring_in_chunks_equals_scoring_whole(detector, errors, cuts):
    whole, context = detector.score(errors), detector.context_rows
    edges = [0, *sorted({c for c in cuts if c < len(errors)}), len(errors)]
    for a, b in itertools.pairwise(edges):
        first = max(0, a - context)
        part = detector.score(errors[first:b])
        for name in ("score", "raw", "share"):
            np.testing.assert_array_equal(getattr(part, name)[a - first :], getattr(whole, name)[a:b])


@settings(max_examples=60, deadline=None)
@given(errors=ERRORS)
def test_every_row_gets_a_finite_score_or_is_a_gap(detector, errors):
    before = errors.copy()
    scored = detector.score(errors)
    gap = np.isnan(errors).all(axis=1)
    for values in (scored.score, scored.raw, scored.share.sum(axis=1)):
        np.testing.assert_array_equal(np.isfinite(values), ~gap)
    np.testing.assert_allclose(scored.share[~gap].sum(axis=1), 1, rtol=1e-5)
    assert not scored.flag[gap].any()
    np.testing.assert_array_equal(errors, before)


@settings(max_examples=60, deadline=None)
@given(errors=ERRORS, row=st.integers(0, 119), channel=st.integers(0, 3), more=st.floats(0, 1e4, width=32))
def test_more_error_never_scores_less(detector, errors, row, channel, more):
    row %= len(errors)
    worse = errors.copy()
    worse[row, channel] += np.float32(more)
    less, much = detector.score(errors).score, detector.score(worse).score
    seen = ~np.isnan(less)
    assert (much[seen] >= less[seen]).all()


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(4)))
def test_the_order_of_channels_does_not_matter(sim, detector, order):
    other = sim.fitted(NORMAL[:, order])
    np.testing.assert_allclose(
        other.score(NORMAL[:, order]).score, detector.score(NORMAL).score, rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("dust", [0.0, 1e-7, 1e-5])
def test_a_constant_stream_is_never_flagged_and_its_first_change_is(sim, dust):
    rng = np.random.default_rng(3)
    detector = sim.fitted((dust * rng.normal(size=(2000, 3))) ** 2)
    later = (dust * 30 * rng.normal(size=(5000, 3))) ** 2
    assert not detector.score(later).flag.any()
    assert detector.score(np.tile([[1.0, 0.0, 0.0]], (40, 1))).flag.any()


def test_a_constant_channel_among_others_does_not_flag_on_rounding(sim):
    quiet = NORMAL.copy()
    quiet[:, 0] = 0
    detector = sim.fitted(quiet)
    quiet[:, 0] = 1e-6
    assert detector.score(quiet).flag.mean() < 1e-3


def test_a_channel_that_was_never_observed_does_not_break_the_rest(sim):
    blind = NORMAL.copy()
    blind[:, 2] = np.nan
    detector = sim.fitted(blind)
    scored = detector.score(blind)
    assert np.isfinite(scored.score).all()
    assert np.isnan(detector.score(np.full((3, 4), np.nan)).score).all()
    assert (scored.share[:, 2] == 0).all()


def test_a_quiet_channels_small_jump_counts_as_much_as_a_noisy_ones_large(sim):
    rng = np.random.default_rng(5)
    loud = np.array([1.0, 0.03, 5.0])
    detector = sim.fitted((rng.normal(size=(5000, 3)) * loud) ** 2)
    jump = (rng.normal(size=(60, 3)) * loud) ** 2
    jump[30:, 1] += (12 * loud[1]) ** 2  # a tenth of what the noisy channel does every second row
    scored = detector.score(jump)
    assert scored.flag[35:].all()
    assert (scored.share[35:].argmax(axis=1) == 1).all()
    assert not detector.score((rng.normal(size=(60, 3)) * loud) ** 2).flag.any()


@pytest.mark.parametrize("channel", [0, 17, 37])
def test_a_fault_in_one_channel_of_38_is_found_and_named(sim, channel):
    rng = np.random.default_rng(6)
    detector = sim.fitted(rng.normal(size=(10000, 38)) ** 2)
    fault = rng.normal(size=(60, 38)) ** 2
    fault[30:, channel] += 12.0**2
    scored = detector.score(fault)
    assert scored.flag[35:].all()
    assert not scored.flag[:30].any()
    assert (scored.share[30:].argmax(axis=1) == channel).all()


def test_a_fault_spread_thinly_over_38_channels_is_found(sim):
    rng = np.random.default_rng(7)
    detector = sim.fitted(rng.normal(size=(10000, 38)) ** 2)
    fault = rng.normal(size=(60, 38)) ** 2
    fault[30:] *= 3
    assert detector.score(fault).flag[40:].all()


def test_raw_shows_the_onset_at_once_and_smoothing_quiets_single_rows(detector):
    errors = np.full((40, 4), 0.5, np.float32)
    errors[20:] = 40
    scored = detector.score(errors)
    assert scored.raw[20] > 1 > scored.raw[19]
    assert scored.score[20] < scored.raw[20]
    plain = {**detector.to_dict(), "span": 1, "slow_threshold": None}
    unsmoothed = Detector.from_dict(plain).score(errors)
    np.testing.assert_array_equal(unsmoothed.score, unsmoothed.raw)


def test_smoothing_reaches_over_a_gap_but_never_fills_it(detector):
    errors = np.full((40, 4), 0.5, np.float32)
    errors[10:13] = np.nan
    unhurried = Detector.from_dict({**detector.to_dict(), "slow_threshold": None})
    scored = unhurried.score(errors)
    assert np.isnan(scored.score[10:13]).all()
    np.testing.assert_allclose(scored.score[13:], scored.score[0], rtol=1e-6)


def test_a_detector_survives_json_and_gives_the_same_bits(detector):
    again = Detector.from_dict(json.loads(json.dumps(detector.to_dict(), allow_nan=False)))
    assert again.to_dict() == detector.to_dict()
    for name in ("score", "raw", "share"):
        np.testing.assert_array_equal(
            getattr(again.score(NORMAL), name), getattr(detector.score(NORMAL), name)
        )


@pytest.mark.parametrize(
    "damage",
    [
        {"format": 99},
        {"scale": [1.0, 0.0, 1.0, 1.0]},
        {"scale": [1.0, float("nan"), 1.0, 1.0]},
        {"scale": [[1.0]]},
        {"scale": ["x"]},
        {"usual": [1.0]},
        {"usual": None},
        {"weight": 2.0},
        {"threshold": {"value": 1.0}},
        {"threshold": None},
        {"span": 0},
        {"top": None},
    ],
)
def test_a_damaged_calibration_is_refused(detector, damage):
    with pytest.raises(BundleError):
        Detector.from_dict({**detector.to_dict(), **damage})


def test_a_missing_part_is_refused(detector):
    for part in detector.to_dict():
        rest = {k: v for k, v in detector.to_dict().items() if k != part}
        with pytest.raises(BundleError):
            Detector.from_dict(rest)


def test_too_little_held_out_is_said(sim):
    with pytest.raises(NotEnoughData, match="nothing"):
        sim.fitted()
    with pytest.raises(NotEnoughData, match="50"):
        sim.fitted(NORMAL[:49])
    with pytest.raises(NotEnoughData, match="observed"):
        sim.fitted(np.full((100, 2), np.nan))


def test_other_channels_than_learned_are_refused(detector):
    with pytest.raises(DataError, match="3 channels"):
        detector.score(np.ones((5, 3)))


def test_no_rows_give_no_scores(detector):
    scored = detector.score(np.empty((0, 4)))
    assert scored.score.shape == (0,)
    assert scored.share.shape == (0, 4)


def test_a_million_rows_are_calibrated_and_scored_in_blocks(sim):
    errors = np.random.default_rng(1).random((1_000_000, 2), np.float32)
    detector = sim.fitted(errors)
    at = 500_000
    whole = detector.score(errors).score[at : at + 100]
    part = detector.score(errors[at - detector.context_rows : at + 100]).score[detector.context_rows :]
    np.testing.assert_array_equal(whole, part)


def test_a_faint_fault_that_lasts_is_found_though_no_row_of_it_stands_out(sim):
    rng = np.random.default_rng(3)
    detector = sim.fitted(rng.normal(size=(20000, 4)) ** 2)
    later = rng.normal(size=(4000, 4)) ** 2
    later[2000:2300] *= 1.8
    judged = detector.score(later)
    assert not judged.flag[:2000].any()
    assert judged.flag[2000:2330].any()
    assert np.nanmax(judged.raw[2000:2300]) < 2 * np.nanmax(judged.raw[:2000])


def test_a_spike_is_not_smeared_over_what_follows(sim):
    rng = np.random.default_rng(3)
    detector = sim.fitted(rng.normal(size=(20000, 4)) ** 2)
    later = rng.normal(size=(4000, 4)) ** 2
    later[2000] = 1e6
    flagged = np.flatnonzero(detector.score(later).flag)
    assert flagged[0] == 2000
    assert flagged[-1] < 2000 + 3 * detector.span


def test_a_fault_is_over_when_it_is_over(sim):
    rng = np.random.default_rng(5)
    detector = sim.fitted(rng.normal(size=(20000, 4)) ** 2)
    later = rng.normal(size=(4000, 4)) ** 2
    later[2000:2300] *= 9
    flagged = np.flatnonzero(detector.score(later).flag)
    assert flagged[0] < 2020
    assert 2290 < flagged[-1] < 2300 + 5 * detector.span
