"""`deliver_alerts`: send what stands in the outbox, on new anomalies and once a minute.

An asset event is a wake-up that may get lost; the sweep makes sure that no alert waits for the next one.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, task
from offbeat_common import COMMON, RETRIES, START, Assets, every, lend_connections, on_assets, outcomes

from pipeline.config.loader import load_project
from pipeline.home import Home

DOC = """
Sends the alerts that wait in the **outbox** to their receivers (`configs/alerts.yaml`).

Delivery is *at least once*, with a key that never changes: a receiver that honours it gets each alert once.
A receiver that fails is tried again with backoff, and holds up no other; in the end its alert is
dead-lettered, and the other receivers hear of it. Running this DAG twice sends nothing twice.
"""


def _schedule() -> Any:
    streams = load_project(Home.find().configs).streams
    return on_assets(every("* * * * *"), *(Assets(name).anomalies for name in streams))


@dag(
    **COMMON,
    start_date=START,
    dag_id="deliver_alerts",
    dag_display_name="deliver alerts",
    description="Send what stands in the outbox",
    doc_md=DOC,
    schedule=_schedule(),
    tags={"offbeat", "deliver"},
    default_args={"owner": "offbeat", **RETRIES},
)
def deliver_alerts() -> None:
    """Outbox → receivers."""

    @task
    def deliver() -> dict[str, Any]:
        """Send every delivery that is due."""
        from pipeline.steps import Offbeat

        with outcomes():
            offbeat = Offbeat.open()
            lend_connections(offbeat.project.alerts.model_dump_json())
            return offbeat.deliver()

    deliver()


deliver_alerts()
