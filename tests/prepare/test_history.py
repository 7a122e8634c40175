"""Promises of history: the vectorised summary equals the one written out row by row."""

import numpy as np
import pytest

from pipeline.prepare import history, ledger

DAY = 86_400_000_000


@pytest.fixture
def book(make):
    table = make.payments(600, seed=4, entities=3, days=60)
    return ledger.read(table, ("terminal",), None, None)


def past_of(book, row, context):
    same = (book.entity == book.entity[row]) & (np.arange(len(book)) < row)
    recent = book.time >= book.time[row] - context
    return np.flatnonzero(same & recent)[-history.ROWS :]


def test_each_row_summarises_exactly_its_bounded_past(book):
    found = history.look_back(book, 10 * DAY)
    root = np.sqrt(book.amount)
    for row in range(0, len(book), 7):
        past = past_of(book, row, 10 * DAY)
        time = book.time[past]
        assert found.rows[row] == len(past)
        assert found.day[row] == (time >= book.time[row] - DAY).sum()
        assert found.hour[row] == (time >= book.time[row] - DAY // 24).sum()
        codes = book.categories[0].codes
        assert found.matches[0][row] == (codes[past] == codes[row]).sum()
        if len(past):
            assert found.amount.mean[row] == pytest.approx(root[past].mean())
            assert found.amount.spread[row] == pytest.approx(root[past].std())
        if len(past) > 1:
            gaps = np.log1p(np.diff(time) / 1e6)
            assert found.pace.count[row] == len(gaps)
            assert found.pace.mean[row] == pytest.approx(gaps.mean())
            assert found.pace.spread[row] == pytest.approx(gaps.std())


def test_a_short_history_leans_on_the_population_and_a_long_one_on_itself():
    counts = np.array([0.0, 4.0, 64.0])
    usual = history.Usual(counts, np.full(3, 10.0), np.full(3, 0.1))
    mean, spread = usual.shrunk(0.0, 1.0)
    assert mean[0] == 0
    assert mean[1] == 5
    assert mean[2] > 9
    assert spread[0] == 1
    assert spread[2] < 0.2


def test_chunks_make_no_difference(book, monkeypatch):
    whole = history.look_back(book, 10 * DAY)
    monkeypatch.setattr(history, "_CHUNK", 17)
    parts = history.look_back(book, 10 * DAY)
    assert np.array_equal(whole.amount.mean, parts.amount.mean)
    assert np.array_equal(whole.pace.spread, parts.pace.spread)
    assert np.array_equal(whole.matches[0], parts.matches[0])
