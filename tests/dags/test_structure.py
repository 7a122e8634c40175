"""What Airflow is told about each stream: schedules, assets, params, pools, retries, docs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.dags.conftest import Parse, Project, stream

STEPS = ("ingest", "train", "score", "watch")


@pytest.fixture
def dags(project: Project, parse: Parse) -> dict[str, Any]:
    project.add("pumps", stream(project.root))
    project.add("quiet", stream(project.root, schedules=dict.fromkeys(STEPS, "never")))
    bag = parse()
    assert bag.import_errors == {}
    return dict(bag.dags)


def test_every_stream_gets_four_dags_and_the_house_two(dags: dict[str, Any]) -> None:
    steps = {f"{step}__{name}" for step in STEPS for name in ("pumps", "quiet")}
    assert set(dags) == steps | {"deliver_alerts", "maintain_store"}


def test_dags_say_what_they_are_and_never_overlap_or_catch_up(dags: dict[str, Any]) -> None:
    for dag in dags.values():
        assert dag.doc_md
        assert dag.description
        assert "offbeat" in dag.tags
        assert dag.max_active_runs == 1
        assert dag.catchup is False
    score = dags["score__pumps"]
    assert {"score", "sensor", "stream:pumps"} <= set(score.tags)
    for fact in ("Pumps of the test.", "pressure", "bar", "1/day", "log", "shards"):
        assert fact in score.doc_md


def test_tasks_are_retried_with_growing_waits(dags: dict[str, Any]) -> None:
    tasks = [t for name, dag in dags.items() for t in dag.tasks if not name.startswith("broken__")]
    for task in tasks:
        assert task.retries == 4
        assert task.retry_delay == timedelta(seconds=20)
        assert task.retry_exponential_backoff == 2
        assert task.max_retry_delay == timedelta(minutes=10)
    assert {t.owner for t in dags["ingest__pumps"].tasks} == {"testers"}


def test_training_waits_for_a_place_in_the_gpu_pool(dags: dict[str, Any]) -> None:
    (train,) = dags["train__pumps"].tasks
    assert train.pool == "gpu"
    assert [asset.uri for asset in train.outlets] == ["offbeat://pumps/model"]
    assert woken_by(dags["train__pumps"]) == {"offbeat://pumps/no-model"}


def test_steps_wake_each_other_by_assets(dags: dict[str, Any]) -> None:
    (ingest,) = dags["ingest__pumps"].tasks
    assert [asset.uri for asset in ingest.outlets] == ["offbeat://pumps/observations"]
    assert woken_by(dags["score__pumps"]) == {"offbeat://pumps/observations", "offbeat://pumps/model"}
    assert [a.uri for a in dags["score__pumps"].get_task("flag").outlets] == ["offbeat://pumps/anomalies"]
    assert woken_by(dags["deliver_alerts"]) == {"offbeat://pumps/anomalies", "offbeat://quiet/anomalies"}


def test_scoring_is_also_on_time_so_that_it_can_be_backfilled(dags: dict[str, Any]) -> None:
    from airflow.serialization.encoders import coerce_to_core_timetable

    timetable = coerce_to_core_timetable(dags["score__pumps"].timetable)
    assert timetable.periodic
    assert timetable.can_be_scheduled


def test_a_stream_scheduled_never_runs_by_hand_and_by_assets_only(dags: dict[str, Any]) -> None:
    for step in ("ingest", "train", "watch"):
        assert dags[f"{step}__quiet"].timetable.can_be_scheduled is False
    assert woken_by(dags["score__quiet"]) == {"offbeat://quiet/observations", "offbeat://quiet/model"}


def test_a_stream_that_is_woken_runs_on_time_besides_and_its_trigger_stores_a_name_alone(
    project: Project, parse: Parse
) -> None:
    kafka = {"type": "kafka", "servers": "k:9092", "topics": ["t"], "secrets": {"sasl.password": "${env:PW}"}}
    project.add("lines", stream(project.root, source=kafka, schedules={"ingest": "5m", "wake": True}))
    ingest = parse().dags["ingest__lines"]
    (arrivals,) = ingest.timetable.asset_condition.objects
    assert arrivals.uri == "offbeat://lines/arrivals"
    (watcher,) = arrivals.watchers
    assert watcher.trigger.serialize() == ("offbeat_arrivals.Arrivals", {"stream": "lines"})
    assert ingest.timetable.can_be_scheduled


def test_params_of_a_manual_scoring_are_typed(dags: dict[str, Any]) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    params = dags["score__pumps"].params
    assert params.dump() == {"start": None, "end": None, "silent": False}
    params.get_param("start").resolve("2026-02-01T00:00:00+00:00")
    for name, wrong in (("start", "yesterday"), ("end", 3), ("silent", "no")):
        with pytest.raises(ParamValidationError):
            params.get_param(name).resolve(wrong)


def test_scoring_is_mapped_over_shards(dags: dict[str, Any]) -> None:
    score = dags["score__pumps"]
    assert score.get_task("score_shard").is_mapped
    assert score.get_task("flag").trigger_rule == "none_failed"
    assert score.get_task("flag").upstream_task_ids == {"score_shard"}
    assert score.get_task("ask_for_a_model").trigger_rule == "all_skipped"


def test_watching_runs_on_time_and_after_each_scoring(dags: dict[str, Any]) -> None:
    (watch,) = dags["watch__pumps"].tasks
    assert [asset.uri for asset in watch.outlets] == ["offbeat://pumps/anomalies"]
    assert dags["watch__pumps"].timetable.can_be_scheduled
    after = dags["score__pumps"].get_task("watch")
    assert after.upstream_task_ids == {"flag"}
    assert after.trigger_rule == "none_failed", (
        "without a model too; a scoring that fails is not hidden by it"
    )
    assert [asset.uri for asset in after.outlets] == ["offbeat://pumps/anomalies"]
    assert "silence auto" in dags["watch__pumps"].doc_md


def woken_by(dag: Any) -> set[str]:
    return {asset.uri for asset in dag.timetable.asset_condition.objects}
