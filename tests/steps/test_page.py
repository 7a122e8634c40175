"""What pages ask of the steps: long stretches agree with short ones; models are asked by the scoring path."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from pipeline.errors import DataError
from pipeline.steps import Offbeat, series
from pipeline.steps.series import Stretch
from pipeline.store import observations, pyramid
from tests.steps import kit

END = kit.TRAINED + timedelta(hours=10)


@pytest.fixture
def work(home) -> Offbeat:
    kit.feed(home, "new.csv", kit.plant(2 * kit.DAY, 600))
    kit.judge_all(home)
    return Offbeat.open(home)


def stretch(hours: float = 10, entity: str = "b", points: int = 5000, **more: object) -> Stretch:
    return Stretch(entity, END - timedelta(hours=hours), END, ("flow", "power"), points, **more)


def test_what_the_model_expected_is_what_scoring_compared_with(work: Offbeat) -> None:
    told = work.expected("plant", stretch())
    assert (told["version"], told["why"]) == (1, "")
    expected = dict(zip(told["channels"][0]["time"], told["channels"][0]["value"], strict=True))
    stored = work.scores(work.stream("plant")).read(stretch().start, END, entities=["b"]).to_pylist()
    pairs = [
        (c["expected"], expected[int(row["time"].timestamp() * 1000)])
        for row in stored
        for c in row["contributions"] or []
        if c["channel"] == "flow" and c["expected"] is not None
    ]
    assert len(pairs) > 500
    assert np.allclose(*np.transpose(pairs), atol=1e-2)


def test_a_stretch_that_is_too_long_is_not_asked_again(work: Offbeat, monkeypatch) -> None:
    monkeypatch.setattr(series, "SCORED_AGAIN", 100)
    told = work.expected("plant", stretch())
    assert told["channels"] == []
    assert "zoom in" in told["why"]


def test_levels_show_the_ends_of_what_is_stored(work: Offbeat, monkeypatch) -> None:
    whole = work.series("plant", stretch(hours=50))
    monkeypatch.setattr(series, "RAW_ROWS", 100)
    monkeypatch.setattr(series, "AT_ONCE", 0)
    assert work.series("plant", stretch(hours=50))["waits"] == 3
    assert work.make_levels("plant", most=1) == {"made": 1, "waits": 3}
    assert work.make_levels("plant") == {"made": 3, "waits": 0}
    assert work.make_levels("plant") == {"made": 0, "waits": 0}
    seen = work.series("plant", stretch(hours=50))
    assert (seen["seconds"], seen["waits"]) == (60, 0)
    for one, other in zip(whole["channels"], seen["channels"], strict=True):
        values = [[v for v in side["value"] if v is not None] for side in (one, other)]
        assert min(values[0]) == pytest.approx(min(values[1]), rel=1e-4)
        assert max(values[0]) == pytest.approx(max(values[1]), rel=1e-4)
    assert max(filter(None, seen["score"]["value"])) == pytest.approx(
        max(filter(None, whole["score"]["value"])), rel=1e-4
    )


def test_few_points_keep_what_stands_out(work: Offbeat) -> None:
    few = work.series("plant", stretch(points=60))["channels"][0]
    assert len(few["time"]) <= 60
    assert min(few["value"]) == 20.0, "the fault"


def test_a_gap_is_a_gap(work: Offbeat) -> None:
    shown = series._thinned("x", "", np.array([0, 1, 2, 50, 51]) * 1000, np.arange(5.0), 10_000, 100)
    assert shown["value"] == [0, 1, 2, None, 3, 4]
    assert shown["time"] == sorted(shown["time"])


def test_an_anomaly_found_by_the_model_is_shown_with_its_surroundings(work: Offbeat) -> None:
    (found, *_) = [a for a in work.anomalies("plant") if a["entity"] == "b"]
    told = work.anomaly(found["id"])
    assert told["around"][0] < told["start"] < told["end"] < told["around"][1]
    assert told["links"]["mlflow_run"].endswith(told["run"])
    assert [d["receiver"] for d in told["deliveries"]] in (["log"], ["log", "log"])


def test_a_glance_is_kept_until_a_table_changes(work: Offbeat, monkeypatch) -> None:
    first = work.glance("plant", None, END)
    assert first.problem == ""
    assert max(c for c in first.strip if c is not None) > 1
    assert first.stored == 2 * 3480
    with monkeypatch.context() as patch:
        patch.setattr(pyramid.Pyramid, "read", lambda *_, **__: pytest.fail("read again"))
        patch.setattr(observations.ObservationStore, "state", lambda *_: pytest.fail("read again"))
        assert work.glance("plant", first, END) == first
    kit.feed(work.home, "more.csv", kit.plant(2 * kit.DAY + 600, 10))
    work.ingest("plant")
    assert work.glance("plant", first, END).stored == first.stored + 20


def test_entities_are_told_the_worst_first(work: Offbeat) -> None:
    told = work.entities("plant")
    assert [e["entity"] for e in told] == ["b", "a"]
    assert told[0]["recent"] > 1 > told[1]["recent"]
    assert 0.3 < told[0]["present"] < 0.4, "58 hours of a week"


def test_what_is_no_channel_is_refused(work: Offbeat) -> None:
    with pytest.raises(DataError, match="no channel 'voltage'; it has flow, power"):
        work.series("plant", Stretch("b", END - timedelta(hours=1), END, ("voltage",)))
