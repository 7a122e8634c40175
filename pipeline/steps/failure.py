"""Failures of the pipeline itself: a step that gave up is told like any anomaly, until it works again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline import clock, log
from pipeline.events import FAILURE, Anomaly, Context, Contribution, Event
from pipeline.steps.notify import at_once, notify
from pipeline.store import anomalies

if TYPE_CHECKING:
    from pipeline.config.models import Stream
    from pipeline.workspace import Workspace


def failed(
    work: Workspace, name: str, step: str, problem: str, *, airflow_run: str | None = None
) -> dict[str, Any]:
    """Record that a step of stream `name` gave up; one that failed before goes on failing.

    Args:
        work: the workspace.
        name: of the stream.
        step: `ingest`, `train`, `score` …: the anomaly's entity.
        problem: kind of error, such as `Unavailable`; its words may hold anything, and are in the log.
        airflow_run: `<dag id>/<run id>`.
    """
    stream, now = work.stream(name), clock.now()
    still = _open(work, name, step)
    start = still.start if still else now
    why = (Contribution(problem, 1.0, None, None),)
    event = Event(step, start, now, now, 1.0, "high", why, True, (), FAILURE)
    with log.unit("failed", stream=name, failing=step, problem=problem) as line:
        recorded = anomalies.record(
            work.database,
            name,
            [event],
            now=now,
            receivers=at_once(work, stream),
            context=_context(stream, airflow_run),
        )
        line |= recorded.counts()
        line["alerts"] += notify(work)["alerts"]
    return dict(line)


def works(work: Workspace, name: str, step: str) -> bool:
    """Record that a step of stream `name` works; return whether it had failed before."""
    stream, now = work.stream(name), clock.now()
    if (still := _open(work, name, step)) is None:
        return False
    event = Event(step, still.start, now, now, 1.0, "high", still.channels, False, (), FAILURE)
    with log.unit("works", stream=name, failing=step):
        anomalies.record(
            work.database, name, [event], now=now, receivers=at_once(work, stream), context=_context(stream)
        )
        notify(work)
    return True


def _context(stream: Stream, airflow_run: str | None = None) -> Context:
    """Return what is known: a step is called by its name, not as the stream's entities are."""
    return replace(Context.of(stream, airflow_run=airflow_run), noun="")


def _open(work: Workspace, name: str, step: str) -> Anomaly | None:
    found = anomalies.list_anomalies(
        work.database, stream=name, entity=step, kind=FAILURE, status="open", limit=1
    )
    return found[0] if found else None
