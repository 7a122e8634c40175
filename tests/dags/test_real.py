"""Real data, from file to alert, through Airflow's DAGs and MLflow: New York's taxis find a holiday."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from pipeline.demo.judge import judge
from pipeline.simulate.replay import nab, write_replay
from tests.dags.conftest import Parse, Project
from tests.dags.test_runs import run

pytestmark = [pytest.mark.airflow, pytest.mark.slow]
DATA = Path(os.environ.get("OFFBEAT_DATA") or Path(__file__).parents[3] / "shared" / "data")


def test_real_data_goes_from_file_to_alert_through_airflow_and_mlflow(project: Project, parse: Parse) -> None:
    if not (DATA / "nab" / "nab.parquet").exists():
        pytest.skip(f"{DATA / 'nab'} is absent: set OFFBEAT_DATA to the folder with the labelled data")
    from pipeline.steps import Offbeat
    from pipeline.store.anomalies import list_anomalies

    labels = write_replay(project.root, "nab", nab(DATA))
    path = project.streams / "nab.yaml"
    config = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**config, "model": {"epochs": 12}}))

    bag = parse()
    for dag in ("ingest__nab", "train__nab", "score__nab", "deliver_alerts"):
        assert run(bag, dag)[0] == "success", dag

    work = Offbeat.open()
    found = list_anomalies(work.database, stream="nab", limit=1000)
    verdict = judge(labels, found, slack=timedelta(hours=12))
    assert verdict.found, "a marathon, Thanksgiving, Christmas, New Year and a blizzard are labelled"
    assert len(verdict.false_alarms) <= 3, "one a month was budgeted, and three months are judged"
    told = [json.loads(line) for line in (work.home.alerts / "nab.jsonl").read_text().splitlines()]
    assert {alert["anomaly"]["id"] for alert in told} == {anomaly.id for anomaly in found}
    champion = work.registry.champion("nab")
    assert champion is not None
    assert champion.metrics["val_loss"] < 0.5
    assert champion.tags["offbeat.delta_version"] == "1"
