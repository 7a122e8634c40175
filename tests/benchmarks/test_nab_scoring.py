"""NAB's scoring gives what NAB gives: published facts, and files small enough to work out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.accuracy.nab_scoring import Piece, gains, probation, sigmoid, sweep, total_at

S1 = 2 / (1 + math.exp(-5)) - 1


def piece(rows, windows, found=(), worth=1.0):
    score = np.zeros(rows)
    score[list(found)] = worth
    return Piece(score, windows)


@pytest.mark.parametrize(("y", "value"), [(-1, 0.98661), (-0.5, 0.84828), (0, 0), (1, -0.98661), (3, -1)])
def test_the_sigmoid_has_the_values_that_numenta_documents(y, value):
    assert sigmoid(y) == pytest.approx(value, abs=5e-6)


@pytest.mark.parametrize(("rows", "counted"), [(100, 15), (103, 15), (5000, 750), (15902, 750)])
def test_probation_is_15_percent_and_at_most_750_rows(rows, counted):
    assert probation(rows) == counted


def test_a_perfect_detector_has_100_and_a_silent_one_0():
    perfect = [piece(400, [(100, 149), (300, 339)], [100, 300]), piece(200, [(60, 79)], [60])]
    silent = [piece(400, [(100, 149), (300, 339)]), piece(200, [(60, 79)])]
    assert total_at(perfect, 0.5) == pytest.approx(100)
    assert total_at(silent, 0.5) == 0
    assert sweep(perfect).total == pytest.approx(100)
    assert sweep(silent).total == 0
    assert sweep(silent).threshold == math.inf


@pytest.mark.parametrize(("row", "y"), [(100, -1), (101, -0.9), (105, -0.5), (109, -0.1)])
def test_a_detection_earns_less_the_later_it_comes(row, y):
    expected = 100 * ((2 / (1 + math.exp(5 * y)) - 1) / S1 + 1) / 2
    assert total_at([piece(200, [(100, 109)], [row])], 0.5) == pytest.approx(expected)


def test_only_the_first_detection_in_a_window_earns():
    once, often = piece(200, [(100, 109)], [103]), piece(200, [(100, 109)], [103, 104, 109])
    assert total_at([once], 0.5) == total_at([often], 0.5)


def test_a_false_alarm_before_any_window_costs_all_of_eleven_hundredths():
    assert total_at([piece(200, [(100, 109)], [60])], 0.5) == pytest.approx(100 * -0.11 / 2)


@pytest.mark.parametrize(("after", "lengths"), [(1, 1 / 10), (5, 0.5), (10, 1), (29, 2.9)])
def test_a_false_alarm_after_a_window_costs_more_the_further_it_is(after, lengths):
    cost = 0.11 * (2 / (1 + math.exp(5 * lengths)) - 1)
    assert total_at([piece(300, [(100, 110)], [110 + after])], 0.5) == pytest.approx(100 * cost / 2)


def test_a_false_alarm_three_lengths_after_costs_all():
    assert total_at([piece(300, [(100, 110)], [140])], 0.5) == pytest.approx(100 * -0.11 / 2)


def test_a_later_window_is_what_false_alarms_are_measured_from():
    gain, window = gains(piece(400, [(100, 110), (200, 250)]))
    assert gain[199] == pytest.approx(-0.11)
    assert gain[251] == pytest.approx(0.11 * sigmoid(1 / 50))
    assert set(window[100:111]) == {0}
    assert set(window[200:251]) == {1}


def test_rows_in_probation_neither_earn_nor_cost():
    assert total_at([piece(200, [(100, 109)], [0, 10, 29])], 0.5) == 0


def test_a_missed_window_costs_what_a_perfect_one_earns():
    assert total_at([piece(400, [(100, 149), (300, 339)], [100])], 0.5) == pytest.approx(50)


def test_one_threshold_holds_for_the_whole_corpus():
    """Each file alone would be perfect; together, one's detection is the other's noise."""
    quiet, loud = piece(200, [(100, 109)], [100], worth=1.0), piece(200, [(100, 109)], [100], worth=10.0)
    loud.score[40:90] = 2.0
    assert sweep([quiet]).total == sweep([loud]).total == pytest.approx(100)
    together = sweep([quiet, loud])
    assert together.threshold == 10.0
    assert together.total == pytest.approx(50)


@given(
    st.lists(st.integers(0, 6), min_size=60, max_size=60),
    st.lists(st.integers(0, 6), min_size=40, max_size=40),
)
def test_the_sweep_finds_the_best_of_all_thresholds(first, second):
    pieces = [
        Piece(np.array(first, float), [(20, 27), (40, 44)]),
        Piece(np.array(second, float), [(15, 24)]),
    ]
    tried = [total_at(pieces, threshold) for threshold in (*range(7), math.inf)]
    best = sweep(pieces)
    assert best.total == pytest.approx(max(tried))
    assert total_at(pieces, best.threshold) == pytest.approx(best.total)


def test_files_without_windows_can_only_cost():
    alone = [piece(200, [(100, 109)], [100])]
    assert total_at([*alone, piece(200, [], [150])], 0.5) == pytest.approx(100 - 100 * 0.11 / 2)
