"""The baselines a model has to beat: causal, bounded, and calibrated like a model."""

import numpy as np
import pytest

from pipeline.detect.baselines import PcaReconstruction, last_value, moving_zscore
from pipeline.errors import NotEnoughData

RNG = np.random.default_rng(0)
WALK = np.cumsum(RNG.normal(size=(300, 2)), axis=0)


def test_last_value_expects_the_last_observed_value():
    values = np.array([[1.0, np.nan], [np.nan, 5.0], [4.0, 7.0]])
    np.testing.assert_array_equal(last_value(values), [[np.nan, np.nan], [np.nan, np.nan], [9.0, 4.0]])


def test_moving_zscore_is_that_of_the_rows_before():
    errors = moving_zscore(WALK, window=20)
    before = WALK[80:100, 1]
    assert errors[100, 1] == pytest.approx(((WALK[100, 1] - before.mean()) / before.std()) ** 2, rel=1e-5)
    assert np.isnan(errors[:5]).all()
    assert np.isfinite(errors[5:]).all()


def test_moving_zscore_of_a_constant_is_zero_and_skips_gaps():
    values = np.full((100, 1), 3.0)
    values[40:45] = np.nan
    errors = moving_zscore(values)
    assert np.isnan(errors[40:45]).all()
    assert (errors[45:] == 0).all()


def test_pca_finds_the_channel_that_leaves_the_others():
    base = np.sin(np.arange(3000) / 20)
    values = base[:, None] * [1, 2, -1] + 0.05 * RNG.normal(size=(3000, 3))
    pca = PcaReconstruction(length=1).fit([values[:2000]])
    values[2500:, 2] = 0.0
    errors = pca.errors(values)
    assert errors[2500:].mean() > 20 * errors[2000:2500].mean()


@pytest.mark.parametrize("channels", [1, 3, 600])
def test_pca_bounds_what_it_looks_at(channels):
    values = RNG.normal(size=(400, channels))
    pca = PcaReconstruction().fit([values])
    assert pca.length_ * channels <= max(512, channels)
    assert np.isnan(pca.errors(values)).sum() == (pca.length_ - 1) * channels


def test_pca_of_a_constant_has_no_error_and_of_nothing_is_refused():
    flat = np.ones((100, 2))
    assert np.nanmax(PcaReconstruction().fit([flat]).errors(flat)) < 1e-12
    with pytest.raises(NotEnoughData):
        PcaReconstruction().fit([np.ones((3, 2))])


def test_a_gap_has_no_error():
    values = WALK.copy()
    values[50] = np.nan
    for errors in (last_value(values), PcaReconstruction().fit([WALK]).errors(values)):
        assert np.isnan(errors[50]).all()


@pytest.mark.parametrize("errors", [last_value, moving_zscore, PcaReconstruction().fit([WALK]).errors])
def test_a_baseline_in_slices_equals_the_whole(errors):
    np.testing.assert_allclose(errors(WALK[100:])[64:], errors(WALK)[164:], rtol=1e-5, atol=1e-8)


def test_a_baseline_is_calibrated_like_a_model(sim):
    values = RNG.normal(size=(6000, 2))
    detector = sim.fitted(moving_zscore(values[:4000]))
    values[5000:5010] += 15
    flag = sim.judged(detector, moving_zscore(values)[4000:]).flag
    assert flag[1000:1010].any()
    assert sim.alarms(flag[:1000]) == 0
