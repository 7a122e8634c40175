"""Windows into rows: every row is judged by the same windows, however they were batched."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detect import RowErrors, channel_errors
from pipeline.errors import DataError

LENGTH, FEATURES = 8, 3


def windows(rows, stride, seed=0, gaps=0.0):
    """One series: the ends of its windows, and their values, mask and reconstruction, left-padded."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, FEATURES)).astype(np.float32)
    seen = rng.random((rows, FEATURES)) >= gaps
    end = np.arange(stride - 1, rows, stride)
    at = end[:, None] - np.arange(LENGTH)[::-1]
    inside = (at >= 0)[:, :, None]
    mask = np.where(inside, seen[np.maximum(at, 0)], False).astype(np.float32)
    made = rng.normal(size=(len(end), LENGTH, FEATURES)).astype(np.float32)
    return end, values[np.maximum(at, 0)] * mask, mask, made, values, seen


def accumulated(rows, delay, stride, batches, **settings):
    errors = RowErrors(rows, FEATURES, delay=delay, stride=stride, **settings)
    for batch in batches:
        errors.add(*batch)
    return errors


def by_hand(rows, delay, stride, end, made, values, seen):
    """The definition, cell by cell."""
    error = np.full((rows, FEATURES), np.nan)
    mean = np.full((rows, FEATURES), np.nan)
    for row in range(rows):
        judges = [w for w, e in enumerate(end) if row <= e <= row + delay]
        if len(judges) < (delay + 1) // stride:
            continue
        for f in np.flatnonzero(seen[row]):
            view = np.array([made[w, LENGTH - 1 - (end[w] - row), f] for w in judges], np.float64)
            error[row, f], mean[row, f] = np.mean((values[row, f] - view) ** 2), view.mean()
    return error, mean


@pytest.mark.parametrize(("delay", "stride"), [(0, 1), (3, 4), (7, 4), (5, 2), (3, 1)])
def test_a_row_is_judged_by_the_windows_that_end_within_its_delay(delay, stride):
    end, shown, mask, made, values, seen = windows(50, stride, gaps=0.2)
    errors = accumulated(50, delay, stride, [(end, shown, mask, made)])
    error, mean = by_hand(50, delay, stride, end, made, values, seen)
    np.testing.assert_allclose(errors.errors(), error, rtol=1e-5)
    np.testing.assert_allclose(errors.reconstruction(), mean, rtol=1e-4, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(1, 59), max_size=6), seed=st.integers(0, 99))
def test_batches_of_any_size_give_the_same_bits(cuts, seed):
    end, shown, mask, made, *_ = windows(60, 1, seed, gaps=0.1)
    edges = [0, *sorted(set(cuts)), 60]
    parts = [slice(a, b) for a, b in itertools.pairwise(edges)]
    whole = accumulated(60, 3, 1, [(end, shown, mask, made)])
    cut = accumulated(60, 3, 1, [(end[p], shown[p], mask[p], made[p]) for p in parts])
    np.testing.assert_array_equal(whole.errors(), cut.errors())
    np.testing.assert_array_equal(whole.reconstruction(), cut.reconstruction())


def test_windows_out_of_order_in_a_batch_give_the_same_bits():
    end, shown, mask, made, *_ = windows(60, 1)
    shuffled = np.random.default_rng(1).permutation(60)
    whole = accumulated(60, 3, 1, [(end, shown, mask, made)])
    mixed = accumulated(60, 3, 1, [(end[shuffled], shown[shuffled], mask[shuffled], made[shuffled])])
    np.testing.assert_array_equal(whole.errors(), mixed.errors())


def test_a_row_has_no_number_before_all_its_windows_came():
    end, shown, mask, made, *_ = windows(20, 1)
    errors = accumulated(20, 3, 1, [(end, shown, mask, made)])
    assert errors.settled().tolist() == [True] * 17 + [False] * 3
    assert np.isnan(errors.errors()[17:]).all()
    early = accumulated(20, 3, 1, [(end, shown, mask, made)], settled_only=False)
    assert np.isfinite(early.errors()).all()


def test_padding_of_one_series_does_not_touch_the_series_before_it():
    end, shown, mask, made, *_ = windows(20, 1)
    alone = accumulated(20, 7, 1, [(end, shown, mask, made)])
    pair = accumulated(40, 7, 1, [(end, shown, mask, made), (end + 20, shown, mask, made)])
    np.testing.assert_array_equal(pair.errors()[:20], alone.errors())
    np.testing.assert_array_equal(pair.errors()[20:], alone.errors())


def test_a_reconstruction_that_overflowed_is_a_huge_finite_error():
    end, shown, mask, made, *_ = windows(10, 1)
    made[:, -1, 0], made[:, -1, 1], made[:, -1, 2] = np.nan, np.inf, 3e38
    error = accumulated(10, 0, 1, [(end, shown, mask, made)]).errors()
    assert np.isfinite(error).all()
    assert (error > 1e9).all()


def test_the_absolute_error_can_be_asked_for():
    end, shown, mask, made, values, _ = windows(30, 1)
    error = accumulated(30, 0, 1, [(end, shown, mask, made)], norm="absolute").errors()
    np.testing.assert_allclose(error, np.abs(values - made[:, -1]), rtol=1e-5)


def test_a_window_handed_over_twice_is_refused():
    end, shown, mask, made, *_ = windows(10, 1)
    with pytest.raises(DataError, match="twice"):
        RowErrors(10, FEATURES).add(np.zeros_like(end), shown, mask, made)


def test_a_delay_that_windows_cannot_meet_is_refused():
    with pytest.raises(DataError, match="multiple of stride"):
        RowErrors(10, FEATURES, delay=2, stride=2)


def test_a_channel_averages_those_of_its_features_that_were_observed():
    errors = np.array([[1, 3, 5, np.nan], [np.nan, 4, np.nan, np.nan]], np.float32)
    made = channel_errors(errors, np.array([0, 0, 1, 2]), 3)
    np.testing.assert_array_equal(made, np.array([[2, 5, np.nan], [4, np.nan, np.nan]], np.float32))
