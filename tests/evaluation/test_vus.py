"""VUS-PR is the benchmark's own: `vus.json` holds what TSB-AD 1.5's evaluator says of the same rows."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluation import usual_period, vus_pr
from tests.evaluation import cases

HERE = Path(__file__).parent
EXPECTED = json.loads((HERE / "vus.json").read_text())


@pytest.mark.parametrize("name", cases.CASES)
def test_the_volume_is_that_of_the_benchmarks_evaluator(name):
    label, score, signal = cases.CASES[name]
    assert usual_period(signal) == EXPECTED[name]["window"]
    assert vus_pr(label, score, EXPECTED[name]["window"]) == pytest.approx(EXPECTED[name]["vus_pr"], abs=1e-9)


def test_a_perfect_score_has_nearly_the_whole_volume_and_a_reversed_one_little():
    label = cases.runs(1000, (400, 450))
    assert vus_pr(label, label + 0.1 * cases.noise(1000, 1), 20) > 0.9
    assert vus_pr(label, -label + 0.1 * cases.noise(1000, 1), 20) < 0.1


def test_only_the_order_of_scores_counts():
    label, score, _ = cases.CASES["edges"]
    assert vus_pr(label, np.exp(7 * score) - 3, 40) == vus_pr(label, score, 40)


def test_a_score_just_beside_an_anomaly_earns_something_and_one_far_away_nothing():
    label = cases.runs(1000, (500, 510))
    far, near = (np.zeros(1000) for _ in range(2))
    near[512:520], far[800:808] = 1, 1
    assert vus_pr(label, near, 40) > 2 * vus_pr(label, far, 40)


@pytest.mark.parametrize("wrong", [np.zeros(50), np.full(50, np.nan)])
def test_what_has_no_volume_is_refused(wrong):
    label = np.zeros(50) if not np.isnan(wrong).any() else cases.runs(50, (3, 5))
    with pytest.raises(ValueError, match="volume"):
        vus_pr(label, wrong, 10)


def test_a_signal_with_holes_or_without_movement_has_the_usual_tolerance():
    assert usual_period(np.full(500, np.nan)) == 125
    assert usual_period(np.ones(500)) == 125
    assert usual_period(np.arange(5.0)) == 125


def test_a_million_rows_take_seconds():
    label = np.zeros(1_000_000, bool)
    label[::5000] = label[1::5000] = True
    assert 0 < vus_pr(label, np.resize(cases.noise(10007, 1), 1_000_000), 100) < 1
