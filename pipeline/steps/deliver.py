"""Deliver: alerts that are due out of the outbox, to their receivers, each with its picture."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from pipeline import log
from pipeline.alerts import picture
from pipeline.alerts.deliver import deliver as send
from pipeline.alerts.links import offers
from pipeline.alerts.message import About
from pipeline.alerts.receivers import open_receivers
from pipeline.alerts.render import firing_title
from pipeline.config.secrets import resolve
from pipeline.errors import TerminalError
from pipeline.steps.notify import notify
from pipeline.steps.scene import restore, scene
from pipeline.steps.similar import similar
from pipeline.store.outbox import Outbox

if TYPE_CHECKING:
    from pipeline.events import Anomaly
    from pipeline.scoring import Scorer
    from pipeline.workspace import Workspace


def deliver(work: Workspace, *, limit: timedelta = timedelta(minutes=5)) -> dict[str, Any]:
    """Send what is due, for so long at most; return how many were sent, failed and given up."""

    @cache  # a night's alerts come from few model versions
    def scorer(name: str, version: int) -> Scorer:
        return restore(work, name, version)

    def draw(anomaly: Anomaly) -> bytes | None:
        if anomaly.version is None or anomaly.stream not in work.project.streams:
            return None
        found = scene(work, anomaly, firing_title(anomaly), scorer(anomaly.stream, anomaly.version))
        return picture.draw(found) if found else None

    with log.unit("deliver") as line:
        alerts = work.project.alerts
        notify(work)
        receivers = open_receivers(alerts, resolve, work.home.alerts)
        page = partial(offers, links=alerts.links, resolve=resolve)
        about = {name: About(s.description, s.owner) for name, s in work.project.streams.items()}
        done = send(
            Outbox(work.database),
            receivers,
            alerts.delivery,
            links=alerts.links,
            picture=draw,
            about=about,
            limit=limit,
            answers=page,
            before=lambda anomaly: similar(work, anomaly),
        )
        line |= asdict(done)
        if done.unknown:
            waiting = ", ".join(f"{count} for {name}" for name, count in sorted(done.unknown.items()))
            raise TerminalError(f"alerts wait for receivers that could not be opened: {waiting}; see the log")
    return dict(line)
