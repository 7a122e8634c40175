"""What TSB-AD's evaluator is given keeps the order of scores, and what it says is kept."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy import vus
from benchmarks.accuracy.work import Settings

ROOT = Path(__file__).parents[2]


def test_scores_are_scaled_to_0_and_1():
    assert vus.unit_scaled(np.array([3.0, 5.0, 4.0])).tolist() == [0, 1, 0.5]
    assert vus.unit_scaled(np.array([2.0, 2.0])).tolist() == [0, 0]


def test_one_huge_score_does_not_make_the_others_equal():
    score = np.array([1.0, 1.0 + 1e-9, 2.0, 1e300])
    scaled = vus.unit_scaled(score)
    assert (np.diff(scaled) > 0).all()
    assert scaled[0] == 0
    assert scaled[-1] == 1


@pytest.fixture
def settings(tmp_path):
    python = Path(os.environ.get("OFFBEAT_TSB_PYTHON", ROOT / ".bench" / "tsb" / "bin" / "python"))
    if not python.is_file():
        pytest.skip("TSB-AD's evaluator has no environment: run benchmarks/accuracy/tsb_env.sh")
    yield Settings(tmp_path, tmp_path, python.absolute())
    vus._judge(python.absolute()).stdin.close()
    vus._judge.cache_clear()


def test_the_evaluator_tells_right_from_wrong_and_is_asked_once(settings, monkeypatch):
    label = np.zeros(600, np.int8)
    label[400:430] = 1
    first = np.sin(np.arange(600) / 5)
    rng = np.random.default_rng(1)
    right, blind = label + 1e-3 * rng.random(600), rng.random(600)
    good = vus.vus_pr(settings, right, label, first)
    assert good > 0.8 > 0.3 > vus.vus_pr(settings, blind, label, first)
    assert vus.vus_pr(settings, 5 * right + 3, label, first) == pytest.approx(good, abs=1e-9)
    monkeypatch.setattr(vus, "_ask", lambda *_: pytest.fail("asked again"))
    assert vus.vus_pr(settings, right, label, first) == good


def test_a_missing_environment_is_told(tmp_path):
    settings = Settings(tmp_path, tmp_path, tmp_path / "python")
    with pytest.raises(RuntimeError, match="tsb_env"):
        vus.vus_pr(settings, np.arange(9.0), np.zeros(9, np.int8), np.arange(9.0))
    assert not [json.loads(p.read_text()) for p in tmp_path.rglob("*.json")]
