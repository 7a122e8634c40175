"""Anomalies: each event recorded once, under an id that stays, with the alerts it causes.

In: events from detection. Out: rows, and outbox rows in the same SQL transaction, so that an anomaly
without its alert, or an alert without its anomaly, cannot be.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import sqlalchemy as sa

from pipeline.errors import DataError
from pipeline.events import (
    LATE,
    RECONSTRUCTION,
    REOPENED,
    SILENCE,
    VOID,
    Anomaly,
    Answer,
    Context,
    Contribution,
    Event,
    Revision,
    digest,
)
from pipeline.store import answering, answers, lifecycle, maintenance
from pipeline.store.database import UtcTime, anomalies, reading, writing
from pipeline.store.leases import put_cursor
from pipeline.store.lifecycle import Step
from pipeline.store.outbox import enqueue_firing, enqueue_resolved


@dataclass(frozen=True, slots=True)
class Recorded:
    """Ids of the anomalies a run opened, continued, closed, revised and left alone; keys of its alerts.

    What is revised, or withdrawn, is among those continued or closed too.
    """

    opened: tuple[str, ...] = ()
    continued: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    revised: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """Return how many of each."""
        return {name.name: len(getattr(self, name.name)) for name in fields(self)}


@dataclass(frozen=True, slots=True)
class Review:
    """Scores that were judged before have changed, and are judged again: what they no longer bear is revised.

    Attributes:
        why: `LATE_RECORDS` or `REPLAY`.
        since: start of what may have changed, of any entity; an anomaly that ended before is left alone.
        until: its end, exclusive; None is open.
        whole: says of a recorded anomaly whether all its scores are among those that were looked at.
    """

    why: str
    since: datetime
    until: datetime | None
    whole: Callable[[Anomaly], bool]


def record(
    engine: sa.Engine,
    stream: str,
    events: Iterable[Event],
    *,
    now: datetime,
    receivers: Sequence[str],
    context: Context,
    silent: bool = False,
    watermark: datetime | Mapping[str, datetime] | None = None,
    judges: Collection[str] = (RECONSTRUCTION,),
    ending: Callable[[Anomaly], str] | None = None,
    since: datetime | None = None,
    review: Review | None = None,
    cursor: tuple[str, Mapping[str, Any]] | None = None,
) -> Recorded:
    """Record events, and enqueue the alerts they cause, in one transaction; twice is as good as once.

    An event that overlaps a recorded anomaly of its entity and kind, or comes within `context.merge` of it,
    is that anomaly. Opening enqueues `firing`; closing enqueues `resolved` if `firing` was. What begins in a
    maintenance window is silent, until it outlasts the window.

    Args:
        engine: the database.
        stream: name of the stream.
        events: what detection found, in any order; they may have been seen before, in part or whole.
        now: time of this run.
        receivers: names from alerts.yaml that an anomaly opening now is sent to.
        context: what the run knows about its anomalies: units, model version, MLflow and Airflow run.
        silent: a backfill: nothing is enqueued, and what people were told of is left alone, but for what
            `review` takes back.
        watermark: time judged so far, for the stream or by entity; an open anomaly that ended more than
            `context.merge` before it is closed. Without it only an event that is not open closes.
        judges: kinds of anomaly that the watermark speaks of.
        ending: says of each open anomaly, of any kind, why it ends now though it was not seen to end; ""
            where it does not. See `Anomaly.ending`.
        since: start of what this run is the first to judge live; an anomaly that reaches past it and
            was found by a backfill only is told now.
        review: which recorded anomalies are what `events` say and nothing more, as their scores changed.
        cursor: name and value of a cursor to set in the same transaction.
    """
    run = _Run(stream, context, now, tuple(receivers), silent, since)
    with writing(engine) as connection:
        _serialise(connection, stream)
        before = _reviewed(connection, stream, review) if review else []
        run.windows = maintenance.of_stream(connection, stream)
        for event in sorted(events, key=lambda e: (e.start, e.entity)):
            run.see(connection, lifecycle.cleaned(event, context))
        if review:
            run.review(connection, before, review.why)
        run.close_until(connection, watermark, judges)
        if ending:
            run.end(connection, ending)
        if cursor:
            put_cursor(connection, stream, *cursor)
    return run.recorded()


def answer(
    engine: sa.Engine,
    identifier: str,
    said: Answer,
    *,
    heard: datetime,
    receivers: Sequence[str],
    nonce: str = "",
) -> tuple[Anomaly, bool]:
    """Note what somebody said of an anomaly, with the alerts that causes, in one transaction.

    A closing answer sends `resolved` to whoever was sent `firing`; taking it back sends `firing` again. What
    was the latest answer already (the same, by the same person, for as long) is not noted twice.

    Args:
        engine: the database.
        identifier: of the anomaly.
        said: the answer.
        heard: now, in the stream's own time.
        receivers: whom an anomaly that opens again is sent to.
        nonce: of the link that was used to answer; used up in the same transaction.

    Returns:
        The anomaly as it is now, and whether the answer was news.

    Raises:
        DataError: there is no such anomaly, or the link was used before.
    """
    with writing(engine) as connection:
        if nonce:
            answers.spend(connection, nonce, now=said.at)
        if (old := _get(connection, identifier)) is None:
            raise DataError(f"no anomaly {identifier!r}: `offbeat anomalies --json` shows their ids")
        _serialise(connection, old.stream)
        old = _get(connection, identifier) or old  # as it is now that nobody else changes it
        last = answers.latest(connection, identifier)
        if last is not None and last.same(said):
            return old, False
        new = answering.answered(old, said, heard)
        answers.append(connection, identifier, said)
        connection.execute(sa.update(anomalies).where(anomalies.c.id == identifier).values(_row(new)))
        changed = old.status != new.status and not new.silent
        step = Step(new, fire=changed and new.status == "open", resolve=changed and new.status == "closed")
        _enqueue(connection, step, receivers, now=said.at)
    return new, True


def get(engine: sa.Engine, identifier: str) -> Anomaly | None:
    """Return one anomaly."""
    with reading(engine) as connection:
        return _get(connection, identifier)


def list_anomalies(
    engine: sa.Engine,
    *,
    stream: str | None = None,
    entity: str | None = None,
    status: str | None = None,
    kind: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    judged: bool = False,
    limit: int = 100,
) -> list[Anomaly]:
    """Return anomalies that touch [since, until), the latest start first; or only those with a verdict."""
    query = sa.select(anomalies).order_by(anomalies.c.start.desc(), anomalies.c.id).limit(limit)
    if stream is not None:
        query = query.where(anomalies.c.stream == stream)
    if entity is not None:
        query = query.where(anomalies.c.entity_key == digest(lifecycle.storable(entity)))
    if status is not None:
        query = query.where(anomalies.c.status == status)
    if kind is not None:
        query = query.where(anomalies.c.kind == kind)
    if judged:
        query = query.where(anomalies.c.verdict != "")
    if since is not None:
        query = query.where(anomalies.c.end >= since)
    if until is not None:
        query = query.where(anomalies.c.start < until)
    with reading(engine) as connection:
        return [read(row) for row in connection.execute(query)]


def count_open(engine: sa.Engine) -> list[tuple[str, str, str, int]]:
    """Return how many anomalies are open, by stream, kind and severity."""
    by = (anomalies.c.stream, anomalies.c.kind, anomalies.c.severity)
    query = sa.select(*by, sa.func.count()).where(anomalies.c.status == "open").group_by(*by)
    with reading(engine) as connection:
        return [(row[0], row[1], row[2], row[3]) for row in connection.execute(query)]


def by_entity(engine: sa.Engine, stream: str) -> list[dict[str, Any]]:
    """Return for each entity of a stream how many anomalies it had, how many are open, worst and newest."""
    still = sa.func.sum(sa.case((anomalies.c.status == "open", 1), else_=0)).label("open")
    query = (
        sa.select(
            anomalies.c.entity,
            sa.func.count().label("anomalies"),
            still,
            sa.func.max(anomalies.c.peak_score).label("worst"),
            sa.func.max(anomalies.c.start, type_=UtcTime).label("newest"),
        )
        .where(anomalies.c.stream == stream)
        .group_by(anomalies.c.entity)
    )
    with reading(engine) as connection:
        return [dict(row._mapping) for row in connection.execute(query)]


@dataclass(slots=True)
class _Run:
    """One call of `record`: what it was given, and what it did so far."""

    stream: str
    context: Context
    now: datetime
    receivers: tuple[str, ...]
    silent: bool
    since: datetime | None
    did: dict[str, dict[str, None]] = field(default_factory=dict)
    events: dict[str, list[Event]] = field(default_factory=dict)
    """What was seen, by the id of the anomaly that it belongs to."""
    windows: Sequence[maintenance.Window] = ()

    def note(self, what: str, name: str) -> None:
        self.did.setdefault(what, {})[name] = None

    def recorded(self) -> Recorded:
        changed = {name for what in ("opened", "continued", "closed") for name in self.did.get(what, ())}
        same = [name for name in self.did.get("unchanged", ()) if name not in changed]
        return Recorded(**{k: tuple(v) for k, v in (self.did | {"unchanged": dict.fromkeys(same)}).items()})

    def see(self, connection: sa.Connection, event: Event) -> None:
        found = _matching(connection, self.stream, event, self.context)
        window = self.maintained(event, found[0] if found else None)
        silent = self.silent or window != ""
        if not found:
            name = _free_name(connection, self.stream, event)
            step = lifecycle.opened(self.stream, event, self.context, now=self.now, silent=silent, name=name)
            step = replace(step, anomaly=replace(step.anomaly, maintenance=window))
            self.events[name] = [event]
            connection.execute(sa.insert(anomalies).values(_row(step.anomaly)))
            self.note("opened", step.anomaly.id)
            self.tell(connection, step)
            if step.anomaly.status == "closed":
                self.note("closed", step.anomaly.id)
            return
        old = found[0]
        self.events.setdefault(old.id, []).append(event)
        step = lifecycle.joined(old, event, self.context, now=self.now, silent=silent, since=self.since)
        self.apply(connection, old, step)

    def maintained(self, event: Event, old: Anomaly | None) -> str:
        """Return the maintenance window that keeps an event silent; empty where none does.

        What people were told of already goes on as ever, so that they hear of its end.
        """
        if old is not None and not old.silent:
            return ""
        usual = event.usual if event.kind in (SILENCE, LATE) and event.usual else timedelta(0)
        start, end = event.start, event.end
        if old is not None:
            start, end = min(start, old.start), max(end, old.end)
        grace = max(self.context.merge, usual)
        window = maintenance.covering(self.windows, event.entity, start, end, grace)
        return window.id if window else ""

    def apply(self, connection: sa.Connection, old: Anomaly, step: Step) -> None:
        if step.anomaly == old:
            self.note("unchanged", old.id)
            return
        row = _row(step.anomaly)
        connection.execute(sa.update(anomalies).where(anomalies.c.id == old.id).values(row))
        if old.answer and not step.anomaly.answer:
            answers.append(connection, old.id, Answer(REOPENED, answers.OURSELVES, self.now, "it went on"))
        closes = old.status == "open" and step.anomaly.status == "closed"
        self.note("closed" if closes else "continued", old.id)
        self.tell(connection, step)

    def review(self, connection: sa.Connection, before: Sequence[Anomaly], why: str) -> None:
        """Make of what was recorded before what this run's events are, or end it where it has none."""
        for old in before:
            if events := self.events.get(old.id):
                now_is = _one(connection, old.id)
                step = lifecycle.revised(old, now_is, events, self.context, now=self.now, why=why)
                self.apply(connection, now_is, step)
            elif any(_near(old, e, self.context) for seen in self.events.values() for e in seen):
                step = lifecycle.merged(old, now=self.now, why=why)
                self.apply(connection, old, step)
            else:
                step = lifecycle.withdrawn(old, now=self.now, why=why, silent=self.silent)
                self.apply(connection, old, step)
            if step.anomaly.revised != old.revised:
                self.note("revised", old.id)

    def tell(self, connection: sa.Connection, step: Step) -> None:
        for key in _enqueue(connection, step, self.receivers, now=self.now):
            self.note("alerts", key)

    def close_until(
        self,
        connection: sa.Connection,
        watermark: datetime | Mapping[str, datetime] | None,
        judges: Collection[str],
    ) -> None:
        if watermark is None:
            return
        for old in _open(connection, self.stream, silent_only=self.silent):
            judged = watermark.get(old.entity) if isinstance(watermark, Mapping) else watermark
            if old.kind in judges and judged is not None and judged - old.end > self.context.merge:
                self.apply(connection, old, lifecycle.ended(old, now=self.now))

    def end(self, connection: sa.Connection, ending: Callable[[Anomaly], str]) -> None:
        for old in _open(connection, self.stream, silent_only=self.silent):
            if why := ending(old):
                self.apply(connection, old, lifecycle.ended(old, now=self.now, ending=why))


def _enqueue(connection: sa.Connection, step: Step, receivers: Sequence[str], *, now: datetime) -> list[str]:
    keys: list[str | None] = []
    if step.fire:
        keys.append(enqueue_firing(connection, step.anomaly, receivers, now=now))
    if step.resolve:
        keys.append(enqueue_resolved(connection, step.anomaly, now=now))
    return [key for key in keys if key]


def _get(connection: sa.Connection, identifier: str) -> Anomaly | None:
    row = connection.execute(sa.select(anomalies).where(anomalies.c.id == identifier)).one_or_none()
    return read(row) if row else None


def _serialise(connection: sa.Connection, stream: str) -> None:
    """Let one run of a stream record at a time; SQLite's writers queue anyway."""
    if connection.dialect.name == "postgresql":
        lock = sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"offbeat.{stream}"))
        connection.execute(sa.select(lock))


def _matching(connection: sa.Connection, stream: str, event: Event, context: Context) -> list[Anomaly]:
    """Return what the event may be part of: the open one first, then the latest, what is void last."""
    query = (
        sa.select(anomalies)
        .where(anomalies.c.stream == stream, anomalies.c.entity_key == digest(event.entity))
        .where(anomalies.c.kind == event.kind)
        .where(anomalies.c.start <= event.end + context.merge, anomalies.c.end >= event.start - context.merge)
        .order_by(anomalies.c.status.desc(), anomalies.c.start.desc())
    )
    return sorted((read(row) for row in connection.execute(query)), key=lambda a: a.ending in VOID)


def _near(anomaly: Anomaly, event: Event, context: Context) -> bool:
    same = (anomaly.entity, anomaly.kind) == (event.entity, event.kind)
    return same and anomaly.start <= event.end + context.merge and anomaly.end >= event.start - context.merge


def _free_name(connection: sa.Connection, stream: str, event: Event) -> str:
    """Return the event's id; where an anomaly that began then has moved away under it, the next."""
    names = (lifecycle.name_of(stream, event, number) for number in count())
    taken = sa.select(anomalies.c.id)
    return next(n for n in names if not connection.execute(taken.where(anomalies.c.id == n)).first())


def _one(connection: sa.Connection, identifier: str) -> Anomaly:
    return read(connection.execute(sa.select(anomalies).where(anomalies.c.id == identifier)).one())


def _reviewed(connection: sa.Connection, stream: str, review: Review) -> list[Anomaly]:
    """Return what the model found and is judged again whole; what is void stays so until it is found."""
    query = (
        sa.select(anomalies)
        .where(anomalies.c.stream == stream, anomalies.c.kind == RECONSTRUCTION)
        .where(anomalies.c.end >= review.since, anomalies.c.ending.not_in(VOID))
        .order_by(anomalies.c.start, anomalies.c.id)
    )
    if review.until is not None:
        query = query.where(anomalies.c.start < review.until)
    return [old for row in connection.execute(query) if review.whole(old := read(row))]


def _open(connection: sa.Connection, stream: str, *, silent_only: bool) -> list[Anomaly]:
    query = sa.select(anomalies).where(anomalies.c.status == "open", anomalies.c.stream == stream)
    if silent_only:
        query = query.where(anomalies.c.silent)
    return [read(row) for row in connection.execute(query.order_by(anomalies.c.start, anomalies.c.id))]


def _row(anomaly: Anomaly) -> dict[str, Any]:
    row = {f.name: getattr(anomaly, f.name) for f in fields(anomaly)}
    return row | {
        "entity_key": digest(anomaly.entity),
        "decided": False,
        "channels": [asdict(c) for c in anomaly.channels],
        "ids": list(anomaly.ids),
        "revised": anomaly.revised.to_json() if anomaly.revised else None,
    }


def read(row: sa.Row[Any]) -> Anomaly:
    """Return a row of the table as an anomaly."""
    known = {f.name: getattr(row, f.name) for f in fields(Anomaly)}
    known["channels"] = tuple(Contribution(**c) for c in known["channels"])
    known["revised"] = Revision.from_json(known["revised"]) if known["revised"] else None
    return replace(Anomaly(**known), ids=tuple(known["ids"]))
