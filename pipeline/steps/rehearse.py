"""Rehearse: a sample of a stream's alert, by the route that a real one would take; nothing is recorded."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pipeline import clock, log
from pipeline.alerts.message import About
from pipeline.alerts.receivers import open_receivers
from pipeline.alerts.render import render
from pipeline.alerts.routing import Routes, Rule
from pipeline.config.scalars import format_duration
from pipeline.config.secrets import resolve
from pipeline.errors import DataError, OffbeatError
from pipeline.events import KINDS, SEVERITIES, Anomaly, Claimed, Context, Contribution, Event
from pipeline.store import lifecycle

if TYPE_CHECKING:
    from pipeline.workspace import Workspace

_TEST = "TEST, please ignore: "


def rehearse(
    work: Workspace,
    name: str,
    *,
    receiver: str = "",
    entity: str = "",
    severity: str = "high",
    kind: str = "reconstruction",
    send: bool = True,
) -> list[dict[str, Any]]:
    """Say who would be told of such an anomaly of stream `name`, and when; send each a sample, and its end.

    Args:
        work: the workspace.
        name: of the stream.
        receiver: send to this one only, whether a route names it or not.
        entity: of the sample; routes and labels may go by it.
        severity: of the sample.
        kind: what found it.
        send: False only says who would be told.

    Raises:
        DataError: a severity, kind or receiver that is none.
    """
    alerts, now = work.project.alerts, clock.now()
    _check("severity", severity, SEVERITIES)
    _check("kind", kind, KINDS)
    if receiver:
        _check("receiver", receiver, tuple(alerts.receivers))
    sample = _sample(work, name, entity or "sample", severity, kind, now)
    routes = Routes(alerts, work.project.streams)
    told = [row for rule in routes.rules(sample) for row in _who(routes, rule, sample, now)]
    if receiver:
        told = [row for row in told if row["receiver"] == receiver] or [
            {"receiver": receiver, "when": "never: no route leads there", "at": None}
        ]
    for row in told:
        row["sent"] = _send(work, str(row["receiver"]), sample) if send else ""
    return told


def _check(what: str, said: str, known: tuple[str, ...]) -> None:
    if said not in known:
        raise DataError(f"{said!r} is no {what}; expected one of {', '.join(known)}")


def _sample(work: Workspace, name: str, entity: str, severity: str, kind: str, now: datetime) -> Anomaly:
    stream = work.stream(name)
    channel = Contribution(stream.channels[0], 1.0, 1.0, 9.0)
    start = now - timedelta(minutes=5)
    event = Event(entity, start, now, now, 4.0, severity, (channel,), True, (), kind)
    context = Context.of(stream)
    return lifecycle.opened(name, lifecycle.cleaned(event, context), context, now=now, silent=False).anomaly


def _who(routes: Routes, rule: Rule, sample: Anomaly, now: datetime) -> Iterator[dict[str, Any]]:
    """Yield whom a rule tells, with when in words and as a time; the time is None where that depends."""
    quiet = routes.quiet(rule, sample, now)
    if quiet and rule.quiet:
        when, at = f"after the quiet hours ({rule.quiet.hours}), if it is still open", None
    elif rule.group:
        when = f"within {format_duration(rule.wait)}, with others of the same {', '.join(rule.group.by)}"
        at = (now + rule.wait).isoformat()
    else:
        when, at = "at once", now.isoformat()
    again = f"; again every {format_duration(rule.repeat)}" if rule.repeat else ""
    for name in rule.to:
        limit = f"; at most {routes.limits[name]}" if name in routes.limits else ""
        yield {"receiver": name, "when": f"{when}{again}{limit}", "at": at}
    for step in rule.escalate:
        for name in step.to:
            after = f"after {format_duration(step.after)}, if nobody answers"
            yield {"receiver": name, "when": after, "at": (now + step.after).isoformat()}


def _send(work: Workspace, name: str, sample: Anomaly) -> str:
    """Send a sample and its end; return `yes`, or what went wrong."""
    alerts, stream = work.project.alerts, work.stream(sample.stream)
    one = alerts.model_copy(update={"receivers": {name: alerts.receivers[name]}})
    opened = open_receivers(one, resolve, work.home.alerts)
    if name not in opened:
        return "no: it cannot be opened, see the log"
    about, key = About(stream.description, stream.owner), f"test-{uuid.uuid4().hex[:12]}"
    ended = replace(sample, status="closed", closed_at=sample.opened_at)
    for event, anomaly in (("firing", sample), ("resolved", ended)):
        facts = anomaly.to_json()
        claimed = Claimed(f"{key}-{event}", name, event, facts, 0, sample.opened_at, "")
        told = render(claimed, alerts.links, about=about)
        told = replace(told, title=_TEST + told.title, text=_TEST + told.text, thread=key)
        try:
            opened[name].send(told)
        except OffbeatError as error:
            return f"no: {log.redact(str(error))}"
    return "yes"
