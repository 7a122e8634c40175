"""What becomes of an anomaly when an event of it is seen: pure functions, no I/O.

Facts only grow (start moves back, end forward, the peak up), so that runs in any order, twice, or
over slices of time agree. The status follows the newest end; an end already told can be taken back.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pipeline.events import Anomaly, Context, Contribution, Event
from pipeline.store import answering

_MOST = 1e12  # scores are ratios to a threshold; beyond this they say no more


@dataclass(frozen=True, slots=True)
class Step:
    """An anomaly after an event, and what people have to be told because of it."""

    anomaly: Anomaly
    fire: bool = False
    resolve: bool = False


def storable(text: str) -> str:
    """Return text that every database takes: no NUL, no lone surrogates."""
    return text.replace("\x00", "\u2400").encode("utf-8", "replace").decode("utf-8")


def digest(*parts: str) -> str:
    """Return a short stable name for some text, unambiguous about where the parts end."""
    joined = "".join(f"{len(p)}:{p}" for p in parts)
    return hashlib.sha256(joined.encode()).hexdigest()[:24]


def cleaned(event: Event, context: Context) -> Event:
    """Return the event with plain finite floats, UTC times, storable text and units."""
    return replace(
        event,
        entity=storable(event.entity),
        start=event.start.astimezone(UTC),
        end=event.end.astimezone(UTC),
        peak=event.peak.astimezone(UTC),
        peak_score=_score(event.peak_score),
        channels=tuple(_channel(c, context) for c in event.channels),
        open=bool(event.open),
        ids=tuple(storable(str(i)) for i in event.ids),
    )


def opened(stream: str, event: Event, context: Context, *, now: datetime, silent: bool) -> Step:
    """Return a new anomaly; one that has ended already is closed at once."""
    anomaly = Anomaly(
        id=digest(stream, event.entity, event.kind, event.start.isoformat()),
        stream=stream,
        entity=event.entity,
        start=event.start,
        end=event.end,
        peak=event.peak,
        peak_score=event.peak_score,
        severity=event.severity,
        status="open" if event.open else "closed",
        channels=event.channels,
        ids=event.ids,
        kind=event.kind,
        usual=event.usual.total_seconds() if event.usual is not None else None,
        stream_kind=context.stream_kind,
        noun=context.noun,
        version=context.version,
        run=context.run,
        airflow_run=context.airflow_run,
        silent=silent,
        episode=1,
        opened_at=now,
        updated_at=now,
        closed_at=None if event.open else now,
    )
    return Step(anomaly, fire=not silent, resolve=not silent and not event.open)


def joined(
    old: Anomaly, event: Event, context: Context, *, now: datetime, silent: bool, since: datetime | None
) -> Step:
    """Return the anomaly after one more event of it; the same object's equal when nothing changed.

    A silent run leaves alone what people were told of. A live run tells of what only a silent run had
    found, if it goes on, has grown, or reaches into what this run is the first to judge (`since`).
    """
    if silent and not old.silent:
        return Step(old)
    status = _status(old, event)
    reopened = old.status == "closed" and status == "open"
    old, before = (answering.forgotten(old), old) if reopened else (old, old)
    new = replace(_grown(old, event), status=status)
    news = status == "open" or event.end > old.end or (since is not None and event.end >= since)
    tell = old.silent and not silent and news
    if tell:
        new = replace(
            new, silent=False, version=context.version, run=context.run, airflow_run=context.airflow_run
        )
    if reopened and not old.silent:
        new = replace(new, episode=old.episode + 1)
    if old.status != status:
        new = replace(new, closed_at=now if status == "closed" else None, ending="")
    if new == before:
        return Step(before)
    fire = tell or (reopened and not old.silent)
    ended = status == "closed" and (tell or (old.status == "open" and not new.silent))
    return Step(replace(new, updated_at=now), fire=fire, resolve=ended)


def ended(old: Anomaly, *, now: datetime, ending: str = "") -> Step:
    """Return the anomaly closed, because time has gone on without it or for another reason (`ending`)."""
    new = replace(old, status="closed", closed_at=now, updated_at=now, ending=ending)
    return Step(new, resolve=not old.silent)


def _status(old: Anomaly, event: Event) -> str:
    if event.open:
        goes_on = event.end > old.end and answering.unsettled(old, event)
        return "open" if old.status == "open" or goes_on else "closed"
    return "closed" if event.end >= old.end else old.status


def _grown(old: Anomaly, event: Event) -> Anomaly:
    known = set(old.ids)
    new = replace(
        old,
        start=min(old.start, event.start),
        end=max(old.end, event.end),
        ids=old.ids + tuple(i for i in event.ids if i not in known),
    )
    if (event.peak_score, old.peak) <= (old.peak_score, event.peak):
        return new
    return replace(
        new,
        peak=event.peak,
        peak_score=event.peak_score,
        severity=event.severity,
        channels=event.channels,
        usual=event.usual.total_seconds() if event.usual is not None else old.usual,
    )


def _score(value: float) -> float:
    number = float(value)
    return 0.0 if math.isnan(number) else min(max(number, -_MOST), _MOST)


def _channel(part: Contribution, context: Context) -> Contribution:
    return Contribution(
        channel=storable(part.channel),
        share=_score(part.share),
        expected=_finite(part.expected),
        actual=_finite(part.actual),
        unit=storable(part.unit or context.units.get(part.channel, "")),
    )


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
