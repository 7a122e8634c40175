"""Notify: anomalies, answers and the clock in; what people have to be told now out, into the outbox.

Works from the anomalies' own rows: one that was recorded is told, however often a run was killed in between.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pipeline import clock, log
from pipeline.alerts.notify import decide
from pipeline.alerts.routing import Routes
from pipeline.store import incidents

if TYPE_CHECKING:
    from pipeline.config.models import Stream
    from pipeline.workspace import Workspace


def at_once(work: Workspace, stream: Stream) -> tuple[str, ...]:
    """Return who is told of a stream's anomalies in the very transaction that records them.

    Nobody, where routes, limits or inhibitions have a say, or alerts.yaml is broken: `notify` tells then.
    """
    told = work.project.told
    return stream.alert.receivers if told is not None and told.at_once else ()


def notify(work: Workspace) -> dict[str, Any]:
    """Decide who has to be told of what, and put it in the outbox; return how many `alerts` that are.

    Where alerts.yaml is broken nobody is told; what was recorded waits until it is mended.
    """
    alerts, now = work.project.told, clock.now()
    if alerts is None:
        return {"alerts": 0, "deliveries": 0}
    routes = Routes(alerts, work.project.streams)
    with log.quiet(), log.unit("notify") as line:
        told = incidents.settle(
            work.database,
            lambda ledger: decide(ledger, routes, now),
            now=now,
            limits={name: timedelta(seconds=limit.seconds) for name, limit in routes.limits.items()},
            mutes=bool(alerts.inhibit),
        )
        line |= {"alerts": len(told.alerts), "deliveries": told.receivers}
    return {"alerts": len(told.alerts), "deliveries": told.receivers}
