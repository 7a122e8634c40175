"""Promises of surprise: calibrated, monotone, scale-free, and not fooled by what it is looking for."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.detect.surprise import EXTREME, Surprise, fit_surprise, outlying
from pipeline.errors import BundleError

KINDS = {
    "normal": lambda rng, n: np.abs(rng.normal(size=n)),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "lognormal": lambda rng, n: rng.lognormal(3, 1.2, n),
    "pareto": lambda rng, n: rng.pareto(1.5, n) + 1,
    "uniform": lambda rng, n: rng.random(n),
    "counts": lambda rng, n: rng.poisson(3, n).astype(float),
}


@pytest.mark.parametrize("kind", KINDS)
def test_as_many_rows_go_far_as_nats_say(kind):
    rng = np.random.default_rng(0)
    curve = fit_surprise(KINDS[kind](rng, 20_000))
    nats = curve(KINDS[kind](rng, 400_000))
    for level in (1.0, 3.0, 5.0, 7.0):
        should = len(nats) * np.exp(-level)
        came = np.sum(nats >= level)
        assert came < (5 if kind == "counts" else 2.5) * should + 5
        if kind not in ("counts", "uniform"):
            assert came > should / 3 - 5


@pytest.mark.parametrize("kind", KINDS)
def test_units_change_nothing(kind):
    values = KINDS[kind](np.random.default_rng(1), 5000)
    one, many = fit_surprise(values), fit_surprise(values * 100)
    np.testing.assert_allclose(one(values), many(values * 100), rtol=1e-6, atol=1e-6)


def test_frauds_in_the_history_do_not_make_themselves_usual():
    rng = np.random.default_rng(2)
    normal = rng.exponential(size=20_000)
    spoiled = np.concatenate([normal, 30 + rng.exponential(size=80)])
    assert fit_surprise(spoiled)(np.array([30.0]))[0] > 10


@settings(max_examples=60, deadline=None)
@given(
    values=arrays(np.float64, st.integers(0, 200), elements=st.floats(-1e75, 1e150) | st.just(np.nan)),
    asked=arrays(np.float64, 20, elements=st.floats(allow_nan=True, allow_infinity=True)),
)
def test_nats_are_finite_and_never_fall(values, asked):
    curve = fit_surprise(values)
    asked = np.sort(asked)
    nats = curve(asked)
    assert np.isfinite(nats).all()
    assert (nats >= 0).all()
    known = nats[~np.isnan(asked)]
    assert (np.diff(known) >= -1e-9).all()
    again = Surprise.from_dict(json.loads(json.dumps(curve.to_dict())))
    np.testing.assert_array_equal(again(asked), nats)


def test_a_quantity_that_errs_as_its_body_says_makes_no_outlier():
    rng = np.random.default_rng(3)
    values = rng.exponential(size=20_000)
    found = outlying(fit_surprise(values), values)(rng.exponential(size=100_000))
    assert np.mean(found > 0) < 1e-4


def test_far_more_rows_than_should_be_there_are_outliers_and_so_is_what_was_unheard_of():
    rng = np.random.default_rng(4)
    values = np.concatenate([rng.exponential(size=20_000), 15 + rng.exponential(size=60)])
    found = outlying(fit_surprise(values), values)
    assert found(np.array([15.5]))[0] > 1
    clean = rng.exponential(size=20_000)
    assert outlying(fit_surprise(clean), clean)(np.array([60.0]))[0] > 1
    assert found(np.array([EXTREME - 2]))[0] == 0


@pytest.mark.parametrize(
    "damage",
    [
        None,
        {},
        {"value": [1, 0], "nats": [0, 1]},
        {"value": [0, 1], "nats": [1, 0]},
        {"value": [0, 1], "nats": [0]},
        {"value": [float("nan")], "nats": [0]},
        {"value": [0], "nats": [-1]},
        {"value": [], "nats": []},
        {"value": "x", "nats": [0]},
    ],
)
def test_a_damaged_curve_is_refused(damage):
    with pytest.raises(BundleError):
        Surprise.from_dict(damage)
