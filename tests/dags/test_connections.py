"""A receiver's secret may be an Airflow connection, kept in Airflow's own database."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pipeline.config.secrets import resolve
from tests.dags.conftest import Parse, Project
from tests.dags.test_runs import run

pytestmark = [pytest.mark.usefixtures("airflow"), pytest.mark.airflow]
ALERTS = """
receivers:
  desk: {type: webhook, url: "https://desk.example/hook", secret: "${connection:desk:password}"}
"""


def test_a_connection_of_airflow_reaches_the_receiver_that_names_it(
    project: Project, parse: Parse, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.models import Connection
    from airflow.utils.session import create_session

    from pipeline.steps import Offbeat

    with create_session() as session:
        kept = {"conn_type": "https", "host": "desk.example", "password": "canary-1234"}
        session.merge(Connection(conn_id="desk", **kept))
    (project.root / "configs" / "alerts.yaml").write_text(ALERTS)
    found: list[str] = []

    def deliver(_: Offbeat) -> dict[str, Any]:
        found.append(resolve("${connection:desk:password}"))
        return {}

    monkeypatch.setattr(Offbeat, "deliver", deliver)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    assert run(parse(), "deliver_alerts")[0] == "success"
    assert found == ["canary-1234"]


def test_a_connection_nobody_knows_stops_no_other() -> None:
    from offbeat_common import lend_connections

    lend_connections('{"url": "${connection:nobody}"}')
