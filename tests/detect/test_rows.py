"""Windows into rows: every row is judged by the same windows, however they were batched."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detect import RowMeans, channel_errors, squared_errors
from pipeline.errors import DataError

LENGTH, FEATURES = 8, 3


def windows(rows, stride, seed=0, gaps=0.0):
    """One series: the ends of its windows, and their mask and reconstruction, left-padded."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, FEATURES)).astype(np.float32)
    seen = rng.random((rows, FEATURES)) >= gaps
    end = np.arange(stride - 1, rows, stride)
    at = end[:, None] - np.arange(LENGTH)[::-1]
    inside = (at >= 0)[:, :, None]
    mask = np.where(inside, seen[np.maximum(at, 0)], False).astype(np.float32)
    made = rng.normal(size=(len(end), LENGTH, FEATURES)).astype(np.float32)
    return end, mask, made, values, seen


def accumulated(rows, delay, stride, batches, **settings):
    means = RowMeans(rows, FEATURES, delay=delay, stride=stride, **settings)
    for batch in batches:
        means.add(*batch)
    return means


def by_hand(rows, delay, stride, end, made, seen):
    """The definition, cell by cell."""
    mean = np.full((rows, FEATURES), np.nan)
    for row in range(rows):
        judges = [w for w, e in enumerate(end) if row <= e <= row + delay]
        if len(judges) < (delay + 1) // stride:
            continue
        for f in np.flatnonzero(seen[row]):
            view = np.array([made[w, LENGTH - 1 - (end[w] - row), f] for w in judges], np.float64)
            mean[row, f] = view.mean()
    return mean


@pytest.mark.parametrize(("delay", "stride"), [(0, 1), (3, 4), (7, 4), (5, 2), (3, 1)])
def test_a_row_is_judged_by_the_windows_that_end_within_its_delay(delay, stride):
    end, mask, made, _, seen = windows(50, stride, gaps=0.2)
    means = accumulated(50, delay, stride, [(end, mask, made)])
    mean = by_hand(50, delay, stride, end, made, seen)
    np.testing.assert_allclose(means.reconstruction(), mean, rtol=1e-4, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(1, 59), max_size=6), seed=st.integers(0, 99))
def test_batches_of_any_size_give_the_same_bits(cuts, seed):
    end, mask, made, *_ = windows(60, 1, seed, gaps=0.1)
    edges = [0, *sorted(set(cuts)), 60]
    parts = [slice(a, b) for a, b in itertools.pairwise(edges)]
    whole = accumulated(60, 3, 1, [(end, mask, made)])
    cut = accumulated(60, 3, 1, [(end[p], mask[p], made[p]) for p in parts])
    np.testing.assert_array_equal(whole.reconstruction(), cut.reconstruction())


def test_windows_out_of_order_in_a_batch_give_the_same_bits():
    end, mask, made, *_ = windows(60, 1)
    shuffled = np.random.default_rng(1).permutation(60)
    whole = accumulated(60, 3, 1, [(end, mask, made)])
    mixed = accumulated(60, 3, 1, [(end[shuffled], mask[shuffled], made[shuffled])])
    np.testing.assert_array_equal(whole.reconstruction(), mixed.reconstruction())


def test_a_row_has_no_number_before_all_its_windows_came():
    end, mask, made, *_ = windows(20, 1)
    errors = accumulated(20, 3, 1, [(end, mask, made)])
    assert errors.settled().tolist() == [True] * 17 + [False] * 3
    assert np.isnan(errors.reconstruction()[17:]).all()
    early = accumulated(20, 3, 1, [(end, mask, made)], settled_only=False)
    assert np.isfinite(early.reconstruction()).all()


def test_padding_of_one_series_does_not_touch_the_series_before_it():
    end, mask, made, *_ = windows(20, 1)
    alone = accumulated(20, 7, 1, [(end, mask, made)])
    pair = accumulated(40, 7, 1, [(end, mask, made), (end + 20, mask, made)])
    np.testing.assert_array_equal(pair.reconstruction()[:20], alone.reconstruction())
    np.testing.assert_array_equal(pair.reconstruction()[20:], alone.reconstruction())


def test_a_reconstruction_that_overflowed_is_a_huge_finite_error():
    end, mask, made, values, _ = windows(10, 1)
    made[:, -1, 0], made[:, -1, 1], made[:, -1, 2] = np.nan, np.inf, 3e38
    error = squared_errors(values, accumulated(10, 0, 1, [(end, mask, made)]).reconstruction())
    assert np.isfinite(error).all()
    assert (error > 1e9).all()


def test_an_error_is_missing_where_nothing_was_made_of_a_row():
    error = squared_errors(np.array([[1.0, 2.0]]), np.array([[3.0, np.nan]], np.float32))
    np.testing.assert_array_equal(error, np.array([[4, np.nan]], np.float32))


def test_a_window_handed_over_twice_is_refused():
    end, mask, made, *_ = windows(10, 1)
    with pytest.raises(DataError, match="twice"):
        RowMeans(10, FEATURES).add(np.zeros_like(end), mask, made)


def test_a_delay_that_windows_cannot_meet_is_refused():
    with pytest.raises(DataError, match="multiple of stride"):
        RowMeans(10, FEATURES, delay=2, stride=2)


def test_a_channel_averages_those_of_its_features_that_were_observed():
    errors = np.array([[1, 3, 5, np.nan], [np.nan, 4, np.nan, np.nan]], np.float32)
    made = channel_errors(errors, np.array([0, 0, 1, 2]), 3)
    np.testing.assert_array_equal(made, np.array([[2, 5, np.nan], [4, np.nan, np.nan]], np.float32))
