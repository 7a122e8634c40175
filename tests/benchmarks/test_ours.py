"""The bench asks Offbeat what it says it asks, and takes no score that is missing."""

from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

import pipeline.oneshot
from benchmarks.accuracy import ours
from benchmarks.accuracy.work import Settings

TABLE = pa.table({"t": [1, 2, 3], "v": [0.1, 0.2, 0.3]})


@pytest.fixture
def found(monkeypatch):
    asked = []
    names = {f"top{n}_channel": pa.array(["v", None, None] if n > 1 else ["v"] * 3) for n in (1, 2, 3)}
    answer = {
        "score": pa.array([0.5, 1.5, 0.25], pa.float32()),
        "flag": pa.array([False, True, False]),
        **names,
    }

    def detect(table, ask, *, folder):
        asked.append((table, ask))
        alert = SimpleNamespace(false_alarms=SimpleNamespace(per_second=1e-5), merge=timedelta(minutes=10))
        return SimpleNamespace(scores=pa.table(answer), stream=SimpleNamespace(alert=alert))

    monkeypatch.setattr(pipeline.oneshot, "detect", detect)
    return SimpleNamespace(asked=asked, answer=answer)


def test_seed_and_preset_are_passed_on_and_no_label_is(found, tmp_path):
    settings = Settings(tmp_path, tmp_path / "work", tmp_path, preset="fast", seed=11)
    arrays = ours.detected(TABLE, settings, time="t", channels=("v",), train_rows=2)
    ((table, ask),) = found.asked
    assert table is TABLE
    assert (ask.seed, ask.preset, ask.time, ask.train_rows, ask.label) == (11, "fast", "t", 2, None)
    assert arrays["score"].tolist() == [0.5, 1.5, 0.25]
    assert arrays["flag"].tolist() == [False, True, False]
    assert arrays["top"].tolist() == [["v", "v", "v"], ["v", "", ""], ["v", "", ""]]
    assert float(arrays["merge_s"]) == 600
    assert not list((tmp_path / "work").iterdir()), "the bundle is thrown away"


@pytest.mark.parametrize("score", [[0.5, np.nan, 1.0], [0.5, np.inf, 1.0]])
def test_a_score_that_is_not_finite_is_refused(found, tmp_path, score):
    found.answer["score"] = pa.array(score, pa.float32(), from_pandas=False)
    with pytest.raises(ValueError, match="2 finite scores for 3 rows"):
        ours.detected(TABLE, Settings(tmp_path, tmp_path, tmp_path), time="t")
