"""What becomes of an anomaly when an event of it is seen: pure functions, no I/O.

Facts only grow (start moves back, end forward, the peak up), so that runs in any order, twice, or
over slices of time agree. The status follows the newest end; an end already told can be taken back.
Only where scores that were judged have changed, and all of an anomaly's are judged again, does it shrink
(`revised`), or is it withdrawn (`withdrawn`): it then says what it was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pipeline.events import MERGED, VOID, WITHDRAWN, Anomaly, Context, Contribution, Event, Revision, digest
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


def name_of(stream: str, event: Event, number: int = 0) -> str:
    """Return an anomaly's id; a higher `number` gives another, where one that moved away has the first."""
    more = (str(number),) if number else ()
    return digest(stream, event.entity, event.kind, event.start.isoformat(), *more)


def opened(
    stream: str, event: Event, context: Context, *, now: datetime, silent: bool, name: str = ""
) -> Step:
    """Return a new anomaly, under its first id or `name`; one that has ended already is closed at once."""
    anomaly = Anomaly(
        id=name or name_of(stream, event),
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
    if old.ending in VOID:
        return _back(old, event, context, now=now, silent=silent)
    if silent and not old.silent:
        return Step(old)
    status = _status(old, event)
    reopened = old.status == "closed" and status == "open"
    old, before = (answering.forgotten(old), old) if reopened else (old, old)
    new = replace(_grown(old, event), status=status)
    news = status == "open" or event.end > old.end or (since is not None and event.end >= since)
    tell = old.silent and not silent and news
    if tell:
        new = replace(_by(new, context), silent=False)
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


def _back(old: Anomaly, event: Event, context: Context, *, now: datetime, silent: bool) -> Step:
    """Return an anomaly that was void, and is one after all: as this event has it, and told anew."""
    new = replace(
        _by(_as(old, [event]), context),
        status="open" if event.open else "closed",
        ending="",
        closed_at=None if event.open else now,
        updated_at=now,
        silent=silent,
        episode=old.episode + (not old.silent),
    )
    return Step(new, fire=not silent, resolve=not silent and not event.open)


def revised(
    before: Anomaly, now_is: Anomaly, events: Sequence[Event], context: Context, *, now: datetime, why: str
) -> Step:
    """Return the anomaly as its scores have it by now; `now_is` itself where they only say that it goes on.

    Args:
        before: as it was recorded before this run.
        now_is: as it is after this run's events joined it.
        events: all of its events, found in all of its scores.
        context: whose scores they are.
        now: time of this run.
        why: see `Revision`.
    """
    new = _as(now_is, events)
    moved = new.start != before.start or new.end < before.end
    later = before.status == "closed" and new.end > before.end
    peak = new.peak_score < before.peak_score or (
        new.peak_score > before.peak_score and new.peak <= before.end
    )
    if before.ending in VOID or not (moved or later or peak or set(before.ids) - set(new.ids)):
        return Step(now_is)
    return Step(replace(_by(new, context), updated_at=now, revised=_was(before, now, why)))


def withdrawn(old: Anomaly, *, now: datetime, why: str, silent: bool) -> Step:
    """Return the anomaly closed, as its scores do not bear it any more; what it was stays written down.

    People are told who were told of it. A silent run takes back only what is still open with them: it
    would else stay so.
    """
    step = ended(replace(old, revised=_was(old, now, why)), now=now, ending=WITHDRAWN)
    return replace(step, resolve=not old.silent and (old.status == "open" or not silent))


def merged(old: Anomaly, *, now: datetime, why: str) -> Step:
    """Return the anomaly closed, as what it was is part of another by now; what is open with people ends."""
    step = ended(replace(old, revised=_was(old, now, why)), now=now, ending=MERGED)
    return replace(step, resolve=not old.silent and old.status == "open")


def _by(anomaly: Anomaly, context: Context) -> Anomaly:
    """Return the anomaly as found by this run's model."""
    return replace(anomaly, version=context.version, run=context.run, airflow_run=context.airflow_run)


def _was(old: Anomaly, now: datetime, why: str) -> Revision:
    return Revision(now, why, old.start, old.end, old.peak_score, old.severity)


def _as(old: Anomaly, events: Sequence[Event]) -> Anomaly:
    """Return the anomaly with the facts of these events, and no others."""
    worst = max(events, key=lambda event: event.peak_score)
    return replace(
        old,
        start=min(event.start for event in events),
        end=max(event.end for event in events),
        peak=worst.peak,
        peak_score=worst.peak_score,
        severity=worst.severity,
        channels=worst.channels,
        ids=tuple(dict.fromkeys(i for event in events for i in event.ids)),
    )


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
    spread = context.spreads.get(part.channel) if part.spread is None else part.spread
    return Contribution(
        channel=storable(part.channel),
        share=_score(part.share),
        expected=_finite(part.expected),
        actual=_finite(part.actual),
        unit=storable(part.unit or context.units.get(part.channel, "")),
        spread=_finite(spread) if part.expected is not None else None,
    )


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
