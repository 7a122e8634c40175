"""Promises of windows: anchored to the epoch, padded only where nothing came before, cheap to gather."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.prepare import Series, Windows

STEP = 1000


@pytest.fixture(autouse=True, scope="module")
def plain_numbers():
    """Rows are told apart by their numbers here, also by those beyond what a model is shown."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.prepare.windows.CLIP", 1e9)
        yield


def series(cells, observed=None, entity="a", features=2):
    cells = np.asarray(cells, dtype=np.int64)
    mask = np.ones((len(cells), features), dtype=bool)
    if observed is not None:
        mask[:] = np.asarray(observed, dtype=bool)[:, None]
    values = np.where(mask, cells[:, None] + np.arange(features) / 10, 0).astype(np.float32)
    return Series(entity, cells * STEP, values, mask, values.astype(float))


def one_by_one(parts, which, end, length):
    """What a window holds, the slow way."""
    s, first = parts[which], end - length + 1
    short = max(0, -first)
    values, mask = s.values[max(0, first) : end + 1], s.mask[max(0, first) : end + 1]
    pad = ((short, 0), (0, 0))
    return np.pad(values, pad), np.pad(mask.astype(np.float32), pad)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    length=st.integers(4, 12),
    stride=st.integers(1, 5),
    offset=st.integers(-50, 50),
)
def test_gathering_at_once_equals_cutting_one_by_one(sizes, length, stride, offset):
    parts = [series(np.arange(n) + offset + 100 * i) for i, n in enumerate(sizes)]
    windows = Windows(parts, length, stride, step_us=STEP)
    values, mask = windows.gather(slice(None))
    assert values.dtype == mask.dtype == np.float32
    assert values.shape == mask.shape == (len(windows), length, 2)
    for n in range(len(windows)):
        expected = one_by_one(parts, windows.series_index[n], windows.end[n], length)
        assert np.array_equal(values[n], expected[0])
        assert np.array_equal(mask[n], expected[1])


def test_ends_lie_on_a_fixed_grid_of_the_epoch():
    windows = Windows([series(range(-3, 14)), series(range(5, 9))], 4, 4, step_us=STEP)
    assert (windows.end_time // STEP).tolist() == [-1, 3, 7, 11, 7]
    assert windows.series_index.tolist() == [0, 0, 0, 0, 1]
    assert windows.end.tolist() == [2, 6, 10, 14, 2]


def test_every_observed_row_is_within_delay_of_an_end():
    observed = [1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    windows = Windows([series(range(16), observed)], 6, 4, step_us=STEP, fresh=4)
    for row in np.flatnonzero(observed):
        assert any(row <= end <= row + 3 for end in windows.end)
    assert 15 not in windows.end


def test_windows_without_anything_fresh_are_left_out():
    observed = [1, 1, 0, 0, 0, 0, 1]
    assert Windows([series(range(7), observed)], 4, 1, step_us=STEP).end.tolist() == [0, 1, 6]
    wide = Windows([series(range(7), observed)], 4, 1, step_us=STEP, fresh=3)
    assert wide.end.tolist() == [0, 1, 2, 3, 6]


def test_one_series_never_leaks_into_the_next():
    windows = Windows([series(range(5)), series(range(100, 103), entity="b")], 4, 1, step_us=STEP)
    values, mask = windows.gather([5])
    assert values[0, :3].sum() == 0
    assert mask[0].sum(axis=1).tolist() == [0, 0, 0, 2]
    assert values[0, 3].tolist() == pytest.approx([100, 100.1])


def test_transactions_end_a_window_at_every_row_and_forget_what_is_too_old():
    s = series([0, 1, 2, 50, 51])
    windows = Windows([s], 4, 4, step_us=None, fresh=1, reach_us=10 * STEP)
    assert windows.end.tolist() == [0, 1, 2, 3, 4]
    mask = windows.gather(slice(None))[1][:, :, 0]
    assert mask.sum(axis=1).tolist() == [1, 2, 3, 1, 2]
    values = windows.gather([4])[0]
    assert values[0, :, 0].tolist() == [0, 0, 50, 51]


def test_only_windows_from_a_moment_on_when_asked():
    windows = Windows([series(range(20))], 4, 1, step_us=STEP, since=7 * STEP)
    assert windows.end.tolist() == list(range(7, 20))


def test_a_sample_is_even_seeded_and_never_longer_than_asked():
    windows = Windows([series(range(1000))], 4, 1, step_us=STEP)
    sample = windows.sample(100, seed=3)
    assert len(sample) == 100
    assert set(np.diff(sample.end)) == {10}
    assert sample.end.tolist() == windows.sample(100, seed=3).end.tolist()
    assert windows.sample(5000, seed=3) is windows
    assert len(np.unique(windows.sample(999, seed=1).end)) == 999
    values, _ = sample.gather([7])
    assert values[0, -1, 0] == sample.end[7]


def test_a_subset_keeps_its_windows():
    windows = Windows([series(range(50))], 4, 1, step_us=STEP)
    part = windows.subset(windows.end % 7 == 0)
    assert part.end.tolist() == list(range(0, 50, 7))
    assert np.array_equal(part.gather([2])[0], windows.gather([14])[0])


def test_no_series_no_windows():
    windows = Windows([], 4, 1, step_us=STEP)
    assert len(windows) == 0
    assert windows.gather(slice(None))[0].shape == (0, 4, 0)


def test_a_model_is_shown_no_value_beyond_eight_spreads(monkeypatch):
    monkeypatch.setattr("pipeline.prepare.windows.CLIP", 8.0)
    part = series(range(-20, 20))
    values, _ = Windows([part], 4, 1, step_us=STEP).gather(slice(None))
    assert (values.min(), values.max()) == (-8, 8)
    assert part.values.max() > 8  # what it is compared with
