"""What was like an anomaly before: read for the alert that tells of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.alerts import before
from pipeline.store import anomalies

if TYPE_CHECKING:
    from pipeline.events import Anomaly
    from pipeline.workspace import Workspace

_LOOKED_AT = 200


def similar(work: Workspace, anomaly: Anomaly) -> list[str]:
    """Return lines on what was like it, among the latest of its stream and kind that began before it."""
    earlier = anomalies.list_anomalies(
        work.database, stream=anomaly.stream, kind=anomaly.kind, until=anomaly.start, limit=_LOOKED_AT
    )
    return before.lines(anomaly, earlier)
