"""The steps, and the only place where all rooms meet: `Offbeat.open().ingest("pump_station")`.

Each reads stored input, writes stored output, can be killed anywhere and run again. The command line
and the DAGs call nothing else. Arguments and answers are JSON-able; times are aware, UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from threading import Event
from typing import TYPE_CHECKING, Any

from pipeline.errors import DataError
from pipeline.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.steps.arrivals import Arrivals
    from pipeline.steps.glances import Glance
    from pipeline.steps.memory import Memory
    from pipeline.steps.series import Stretch

__all__ = ["Offbeat"]

When = datetime | str | None


def _aware(when: When) -> datetime | None:
    """Return a time as aware, UTC; one without an offset is UTC already."""
    return None if when is None else _moment(when)


def _moment(when: datetime | str) -> datetime:
    moment = datetime.fromisoformat(when) if isinstance(when, str) else when
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _said(when: When) -> datetime:
    """Return a time that must be said, as aware, UTC."""
    if (moment := _aware(when)) is None:
        raise DataError("from when to when? Both must be said")
    return moment


class Offbeat(Workspace):
    """The steps over one workspace. Each imports what it needs when it is called, and no more."""

    def ingest(self, stream: str) -> dict[str, Any]:
        """Drain the stream's source into observations and rejects."""
        from pipeline.steps.ingest import ingest

        return ingest(self, stream)

    def arrivals(self, stream: str) -> Arrivals:
        """Open what tells whether the stream's source has something to ingest."""
        from pipeline.steps.arrivals import Arrivals

        return Arrivals(self, stream)

    def live(self, stream: str, over: Event) -> dict[str, Any]:
        """Ingest, score, flag, watch and deliver as records come, until `over` is set."""
        from pipeline.steps.live import live

        return live(self, stream, over)

    def reread(self, stream: str) -> dict[str, Any]:
        """Read the stream's rejects again under today's config."""
        from pipeline.steps.ingest import reread

        return reread(self, stream)

    def replay(
        self,
        stream: str,
        start: datetime | str,
        end: datetime | str,
        *,
        alert: bool = False,
    ) -> dict[str, Any]:
        """Read, score and flag [start, end) again; return which anomalies appear, vanish and move."""
        from pipeline.steps.replay import replay

        return replay(self, stream, _moment(start), _moment(end), alert=alert)

    def train(
        self,
        stream: str,
        *,
        on_epoch: Callable[[dict[str, Any]], None] | None = None,
        promote: bool = True,
    ) -> dict[str, Any]:
        """Train on the stream's history; promote what passes the gate."""
        from pipeline.steps.train import train

        return train(self, stream, on_epoch=on_epoch, promote=promote)

    def tune(
        self,
        stream: str,
        *,
        trials: int = 20,
        timeout: timedelta | None = None,
        seed: int = 7,
        anew: bool = False,
        tell: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        """Search for settings that find more injected faults; changes nothing but what MLflow shows."""
        from pipeline.steps.tune import tune
        from pipeline.tuning import Plan

        return tune(self, stream, Plan(trials, timeout, seed), anew=anew, tell=tell)

    def plan(self, stream: str, start: When = None, end: When = None) -> list[dict[str, Any]]:
        """Return the shards that have something to score."""
        from pipeline.steps.score import plan

        return plan(self, stream, _aware(start), _aware(end))

    def score(self, stream: str, *, shard: int = 0, start: When = None, end: When = None) -> dict[str, Any]:
        """Score one shard: what is new, or [start, end) again."""
        from pipeline.steps.score import score

        return score(self, stream, shard=shard, start=_aware(start), end=_aware(end))

    def flag(
        self,
        stream: str,
        *,
        start: When = None,
        end: When = None,
        silent: bool = False,
        airflow_run: str | None = None,
    ) -> dict[str, Any]:
        """Turn scores into anomalies, and anomalies into alerts."""
        from pipeline.steps.flag import flag

        return flag(
            self, stream, start=_aware(start), end=_aware(end), silent=silent, airflow_run=airflow_run
        )

    def score_all(
        self,
        stream: str,
        *,
        start: When = None,
        end: When = None,
        silent: bool = False,
        memory: Memory | None = None,
    ) -> dict[str, Any]:
        """Plan, score every shard and flag, in this process; one that stays hands in its `memory`."""
        from pipeline.steps.flag import flag
        from pipeline.steps.score import plan, score

        begin, until, rows, flags = _aware(start), _aware(end), 0, 0
        for each in plan(self, stream, begin, until, memory):
            done = score(self, stream, shard=each["shard"], start=begin, end=until, memory=memory)
            rows, flags = rows + done["rows"], flags + done["flags"]
        found = flag(self, stream, start=begin, end=until, silent=silent, memory=memory)
        return {**found, "rows": rows, "flags": flags}

    def watch(self, stream: str, *, airflow_run: str | None = None) -> dict[str, Any]:
        """Look for silence, lateness, flat lines and readings outside their limits, since the last look."""
        from pipeline.steps.watch import watch

        return watch(self, stream, airflow_run=airflow_run)

    def notify(self) -> dict[str, Any]:
        """Decide who has to be told of what now, and queue it; `flag`, `watch` and `deliver` do so too."""
        from pipeline.steps.notify import notify

        return notify(self)

    def failed(
        self, stream: str, step: str, problem: str, *, airflow_run: str | None = None
    ) -> dict[str, Any]:
        """Tell that a step of the stream gave up."""
        from pipeline.steps.failure import failed

        return failed(self, stream, step, problem, airflow_run=airflow_run)

    def works(self, stream: str, step: str) -> bool:
        """Tell that a step of the stream works, if it had failed before."""
        from pipeline.steps.failure import works

        return works(self, stream, step)

    def rehearse(self, stream: str, **sample: Any) -> list[dict[str, Any]]:
        """Say who would be told of an anomaly of the stream, and when; send each of them a sample."""
        from pipeline.steps.rehearse import rehearse

        return rehearse(self, stream, **sample)

    def deliver(self, *, limit: timedelta = timedelta(minutes=5)) -> dict[str, Any]:
        """Send the alerts that are due, for so long at most."""
        from pipeline.steps.deliver import deliver

        return deliver(self, limit=limit)

    def maintain(self, stream: str) -> dict[str, Any]:
        """Compact the stream's tables and drop what is older than its retention."""
        from pipeline.steps.inspect import maintain

        return maintain(self, stream)

    def status(self) -> list[dict[str, Any]]:
        """Return one row for each stream: freshness, lag, counts, champion, open anomalies."""
        from pipeline.steps.inspect import status
        from pipeline.steps.lag import Lags

        names = sorted(self.project.streams)
        lags = Lags().ask(self, names)
        return [status(self, name, lags.get(name)) for name in names]

    def anomalies(
        self, stream: str | None = None, *, limit: int = 20, status: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the newest anomalies, each with the line that its alert begins with."""
        from pipeline.steps.inspect import newest_anomalies

        return newest_anomalies(self, stream, limit=limit, status=status)

    def glance(self, stream: str, before: Glance | None, now: datetime) -> Glance:
        """Look at a stream's tables for the first page; what has not changed since `before` is kept."""
        from pipeline.steps.glances import glance

        return glance(self, stream, before, now)

    def overview(
        self, glances: Mapping[str, Glance], champions: Mapping[str, Any] | None
    ) -> list[dict[str, Any]]:
        """Return a row for each stream, the worst first: health, champion, what is open, a week of scores."""
        from pipeline import clock
        from pipeline.steps.glances import overview

        return overview(self, glances, champions, clock.now())

    def make_levels(self, stream: str, *, most: int | None = None) -> dict[str, int]:
        """Make what is missing of the levels by which pages show long stretches, newest days first."""
        from pipeline.steps.series import make_levels

        return make_levels(self, stream, most=most)

    def series(self, stream: str, stretch: Stretch) -> dict[str, Any]:
        """Return a stretch of an entity's signals and scores, in as many points as can be seen."""
        from pipeline.steps.series import series

        return series(self, stream, stretch)

    def expected(self, stream: str, stretch: Stretch) -> dict[str, Any]:
        """Return what the champion expects of a stretch, by asking it again."""
        from pipeline.steps.series import expected

        return expected(self, stream, stretch)

    def stream_detail(self, stream: str) -> dict[str, Any]:
        """Return a stream's description, counts, rejects by reason and champion."""
        from pipeline.steps.page import stream_detail

        return stream_detail(self, stream)

    def entities(self, stream: str) -> list[dict[str, Any]]:
        """Return a stream's entities: those with something open first, then the worst."""
        from pipeline.steps.page import entities

        return entities(self, stream)

    def anomaly(self, anomaly_id: str) -> dict[str, Any]:
        """Return one anomaly: in words, what was sent about it, and what was like it."""
        from pipeline.steps.page import anomaly_detail

        return anomaly_detail(self, anomaly_id)

    def transactions(self, stream: str, day: date | None = None) -> dict[str, Any]:
        """Return a day's highest scored transactions, each with its card's history."""
        from pipeline.steps.page import transactions

        return transactions(self, stream, day)

    def answer(
        self, anomaly: str, what: str, *, who: str, why: str = "", until: When = None
    ) -> dict[str, Any]:
        """Note what somebody says of an anomaly, one of `events.ANSWERS`; return the anomaly, and `news`."""
        from pipeline.steps.answer import answer

        return answer(self, anomaly, what, who=who, why=why, until=_aware(until))

    def answers(self, anomaly: str) -> list[dict[str, Any]]:
        """Return what was said of an anomaly, oldest first: what, who, at, why, until."""
        from pipeline.steps.answer import answers

        return answers(self, anomaly)

    def asked(self, token: str) -> dict[str, Any]:
        """Return what a signed link asks for (`anomaly`, `what`, `until`, `spent`); changes nothing."""
        from pipeline.steps.answer import asked

        return asked(self, token)

    def redeem(self, token: str, *, who: str = "", why: str = "") -> dict[str, Any]:
        """Answer by a signed link, once."""
        from pipeline.steps.answer import redeem

        return redeem(self, token, who=who, why=why)

    def missed(
        self, stream: str, entity: str, start: When, end: When, *, who: str, why: str = ""
    ) -> dict[str, Any]:
        """Note that a fault of an entity in [start, end) was not found."""
        from pipeline.steps.answer import missed

        return missed(self, stream, entity, _said(start), _said(end), who=who, why=why)

    def maintenance(
        self, stream: str, entities: Sequence[str], start: When, end: When, *, who: str, why: str = ""
    ) -> dict[str, Any]:
        """Plan maintenance of entities (patterns): what begins in [start, end) is recorded silently."""
        from pipeline.steps.answer import maintain

        return maintain(self, stream, entities, _said(start), _said(end), who=who, why=why)

    def maintenances(self, stream: str) -> list[dict[str, Any]]:
        """Return a stream's maintenance windows, cancelled ones included, in order of time."""
        from pipeline.steps.answer import maintenances

        return maintenances(self, stream)

    def cancel_maintenance(self, window: str, who: str) -> dict[str, Any]:
        """End a maintenance window now, or keep it from beginning."""
        from pipeline.steps.answer import cancel_maintenance

        return cancel_maintenance(self, window, who)

    def labels(self, stream: str) -> pa.Table:
        """Return what people said as labels: entity, start, end (exclusive), label (1 a fault), who."""
        from pipeline.steps.feedback import labels

        return labels(self, stream)

    def discard(self, stream: str, *, ids: Sequence[str] = (), reason: str | None = None) -> dict[str, Any]:
        """Remove rejects for good, by id or by what their reason holds."""
        from pipeline.steps.inspect import discard

        return discard(self, stream, ids=ids, reason=reason)

    def rejects(self, stream: str, *, limit: int = 20) -> list[dict[str, Any]]:
        """Return rejected records."""
        from pipeline.steps.inspect import newest_rejects

        return newest_rejects(self, stream, limit=limit)
