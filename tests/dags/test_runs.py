"""The real DAGs, run: from a feed to a delivered alert, and again without doing anything twice."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.simulate import write_history
from tests.dags.conftest import END, Parse, Project, stream

pytestmark = [pytest.mark.airflow, pytest.mark.slow]


@pytest.fixture
def feed(project: Project) -> Path:
    write_history(project.root / "feeds", days=4, end=END, feeds=["pump_station"])
    return project.root / "feeds" / "pump_station"


def run(bag: Any, dag_id: str, **params: Any) -> tuple[str, dict[str, list[str]]]:
    """Run a DAG to its end without retries; return its state, and the states of each task's instances."""
    for task in bag.dags[dag_id].tasks:
        task.retries = 0
    done = bag.dags[dag_id].test(logical_date=datetime.now(UTC), run_conf=params or None)
    states: dict[str, list[str]] = {}
    for task in sorted(done.get_task_instances(), key=lambda t: t.map_index):
        states.setdefault(task.task_id, []).append(str(task.state))
    return str(done.state), states


def test_a_stream_goes_from_feed_to_delivered_alert_and_a_second_time_changes_nothing(
    project: Project, feed: Path, parse: Parse
) -> None:
    from pipeline.steps import Offbeat

    project.add("pumps", stream(feed))
    bag = parse()
    assert run(bag, "ingest__pumps") == ("success", {"ingest": ["success"]})
    assert run(bag, "ingest__pumps") == ("success", {"ingest": ["skipped"]}), "nothing new wakes nobody"
    asked = run(bag, "score__pumps")[1]
    assert (asked["plan"], asked["ask_for_a_model"]) == (["skipped"], ["success"]), "no champion yet"
    assert asked["watch"] == ["skipped"], "it looked, without a model, and found nothing"
    assert Offbeat.open().watch("pumps")["opened"] == 0
    assert run(bag, "train__pumps") == ("success", {"train": ["success"]})
    state, tasks = run(bag, "score__pumps")
    assert (state, tasks["plan"], tasks["score_shard"]) == ("success", ["success"], ["success"] * 2)
    assert tasks["ask_for_a_model"] == ["skipped"]

    offbeat = Offbeat.open()
    (status,) = offbeat.status()
    found = offbeat.anomalies("pumps", limit=1000)
    assert found, "the faults of the last day"
    assert all("score__pumps" in (a["airflow_run"] or "") for a in found)
    assert run(bag, "watch__pumps")[1] == {"watch": ["skipped"]}, "nothing new"
    assert run(bag, "deliver_alerts")[0] == "success"
    told = alerts(project)
    assert told

    assert run(bag, "score__pumps", start="2026-02-28T00:00:00+00:00")[0] == "success"
    assert run(bag, "deliver_alerts")[0] == "success"
    assert {a["id"] for a in offbeat.anomalies("pumps", limit=1000)} == {a["id"] for a in found}
    assert alerts(project) == told, "scoring again alerts nobody again"
    assert run(bag, "maintain_store") == ("success", {"streams": ["success"], "maintain": ["success"]})
    assert offbeat.status()[0]["stored"] == status["stored"]


def alerts(project: Project) -> list[dict[str, Any]]:
    lines = (project.root / "home" / "alerts" / "pumps.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_training_without_data_fails_once_and_is_not_tried_again(
    project: Project, parse: Parse, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    project.add("pumps", stream(tmp_path / "empty"))
    done = parse().dags["train__pumps"].test()
    (task,) = done.get_task_instances()
    assert (done.state, task.state, task.try_number) == ("failed", "failed", 1)


def test_maintenance_of_no_streams_is_skipped(parse: Parse) -> None:
    state, tasks = run(parse(), "maintain_store")
    assert (state, tasks["streams"], tasks["maintain"]) == ("success", ["success"], ["skipped"])
