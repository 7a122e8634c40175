"""`maintain_store`: compact, vacuum and expire every stream's tables, once a day, a mapped task for each."""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, task
from offbeat_common import COMMON, RETRIES, every, outcomes

from pipeline.config.loader import load_project
from pipeline.home import Home

DOC = """
Compacts small files, removes files no table version in use needs, and drops rows older than the stream's
`retention`. One mapped task per stream; a broken config or table stops its own stream only.
"""


@dag(
    **COMMON,
    dag_id="maintain_store",
    dag_display_name="maintain store",
    description="Compact, vacuum and expire every stream's tables",
    doc_md=DOC,
    schedule=every("17 3 * * *"),
    tags={"offbeat", "maintain"},
    default_args={"owner": "offbeat", **RETRIES},
)
def maintain_store() -> None:
    """Tables → the same tables, tidier."""

    @task
    def streams() -> list[str]:
        """Return the streams whose configuration is valid now."""
        return sorted(load_project(Home.find().configs).streams)

    @task(map_index_template="{{ task.op_kwargs['stream'] }}", max_active_tis_per_dagrun=1)
    def maintain(stream: str) -> dict[str, Any]:
        """Tidy one stream's tables."""
        from pipeline.steps import Offbeat

        with outcomes():
            return Offbeat.open().maintain(stream)

    maintain.expand(stream=streams())


maintain_store()
