"""Promises of scaling: the usual is about 1, an outlier does not set the scale, nothing is infinite."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pipeline.prepare.columns import HUGE
from pipeline.prepare.scaling import Scaling, fit_own, fit_pooled


def one(values):
    return fit_pooled(np.asarray(values, dtype=float)[:, None])


def test_a_normal_channel_has_median_zero_and_spread_one():
    values = np.random.default_rng(0).normal(20, 5, 20_000)
    learned = one(values)
    assert learned.center[0] == pytest.approx(20, abs=0.1)
    assert learned.scale[0] == pytest.approx(5, rel=0.05)


def test_outliers_and_gaps_do_not_set_the_scale():
    values = np.random.default_rng(0).normal(0, 1, 10_000)
    spoiled = values.copy()
    spoiled[:50], spoiled[50:500] = 1e9, np.nan
    assert one(spoiled).scale[0] == pytest.approx(one(values).scale[0], rel=0.1)


def test_the_middle_of_a_bursty_channel_is_not_clipped():
    rng = np.random.default_rng(0)
    values = np.where(rng.random(10_000) < 0.1, rng.uniform(50, 100, 10_000), rng.normal(0, 0.01, 10_000))
    scaled = one(values).apply(values[:, None])
    assert (np.abs(scaled) > 8).mean() < 0.02


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.001])
def test_a_binary_channel_moves_by_a_few_scales(share):
    values = (np.arange(10_000) % round(1 / share) == 0).astype(float)
    learned = one(values)
    assert 0.5 <= 1 / learned.scale[0] <= 8


@pytest.mark.parametrize("value", [0.0, 1.0, -50.0, 1e-12, 1e12])
def test_a_change_of_a_constant_channel_counts_and_stays_finite(value):
    learned = one(np.full(500, value))
    assert learned.apply(np.array([[value]]))[0, 0] == 0
    assert abs(learned.apply(np.array([[value + max(abs(value), 1.0)]]))[0, 0]) >= 1
    assert np.isfinite(learned.scale).all()


def test_rounding_noise_on_a_constant_channel_is_not_a_signal():
    values = 0.1 + np.random.default_rng(0).choice([0, 1e-17, -1e-17, 1.4e-17], 500)
    assert np.abs(one(values).apply(values[:, None])).max() < 1e-6


def test_a_constant_channel_at_zero_takes_the_scale_of_its_neighbours():
    values = np.random.default_rng(0).normal(0, 7, (1000, 3))
    values[:, 2] = 0
    assert fit_pooled(values).scale[2] == pytest.approx(7, rel=0.1)


def test_an_entity_that_never_moved_takes_the_scale_of_the_stream():
    pooled = Scaling(np.array([5.0]), np.array([3.0]))
    still = fit_own(np.full((500, 1), 9.0), pooled, 200)
    assert (still.center[0], still.scale[0]) == (9.0, 3.0)
    few = fit_own(np.append(np.arange(100.0), np.full(400, np.nan))[:, None], pooled, 200)
    assert (few.center[0], few.scale[0]) == (5.0, 3.0)


def test_a_channel_never_measured_has_a_neutral_scaling():
    learned = one(np.full(10, np.nan))
    assert (learned.center[0], learned.scale[0]) == (0, 1)


def test_the_quantiles_are_those_of_numpy():
    values = np.random.default_rng(3).normal(size=(37, 1))
    low, first, middle, third, high = np.percentile(values, [1, 25, 50, 75, 99])
    learned = fit_pooled(values)
    assert learned.center[0] == pytest.approx(middle)
    assert learned.scale[0] == pytest.approx(max((third - first) / 1.349, (high - low) / 8))


@settings(max_examples=100, deadline=None)
@given(arrays(float, array_shapes(min_dims=2, max_dims=2), elements=st.floats(-HUGE, HUGE) | st.just(np.nan)))
def test_whatever_was_learned_is_finite_and_above_zero(values):
    learned = fit_pooled(values)
    assert np.isfinite(learned.center).all()
    assert np.isfinite(learned.scale).all()
    assert (learned.scale > 0).all()
