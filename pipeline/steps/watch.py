"""Watch: records and the clock in; silence, lateness, flat lines and readings outside their limits out.

Needs no model. What was known at the last look is a cursor that moves in the same SQL transaction as the
anomalies, so a look can be killed anywhere and taken again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from pipeline import clock, log
from pipeline.config.models import SensorStream
from pipeline.detect.watchdogs import Habits, Rules, State, look, look_at_the_clock
from pipeline.events import FLATLINE, LATE, RANGE, RECONSTRUCTION, SILENCE, Anomaly, Context, Event
from pipeline.scoring import micros, moment
from pipeline.steps.feedback import watch_precision
from pipeline.steps.notify import at_once, notify
from pipeline.steps.score import FLAGGED
from pipeline.steps.watch_habits import habits_of
from pipeline.steps.watch_readings import columns_of, readings
from pipeline.store import anomalies
from pipeline.store.leases import cursor

if TYPE_CHECKING:
    from pipeline.config.models import Stream
    from pipeline.store import observations
    from pipeline.workspace import Workspace

CELLS = 8_000_000  # rows times channels looked at once: bounds memory
LOOKED = "watch"
"""Cursor of the watch step: up to which batch and time records were looked at, and what was known then."""
RECENT = timedelta(days=1)
"""What is older than this when it comes is not looked at; what had ended before is recorded, but not told."""
_INSTANT = timedelta(microseconds=1)


def watch(work: Workspace, name: str, *, airflow_run: str | None = None) -> dict[str, Any]:
    """Look at what came to stream `name` since the last look, and at the clock; record what is wrong."""
    stream = work.stream(name)
    with log.unit("watch", stream=name) as line:
        store, now = work.observations(stream), clock.now()
        at, seen = store.state(), cursor(work.database, name, LOOKED)
        if at.watermark is None:
            line |= anomalies.Recorded().counts()
            return {"stream": name, **line}
        rules, habits = rules_of(stream), habits_of(work, stream, store, at.watermark)
        state, found = _look(stream, store, at, seen, habits, rules, now)
        before = datetime.fromisoformat(seen["until"]) if seen else None
        state, late = look_at_the_clock(
            state,
            habits,
            rules,
            before=micros(before) if before else None,
            newest=micros(at.watermark),
            now=micros(now),
        )
        reached = {"batch": at.batch, "until": at.watermark.isoformat(), "state": state.to_json()}
        line |= _record(work, stream, state, found + late, at, reached, airflow_run, first=not seen)
        watch_precision(work, stream)
        line["alerts"] += notify(work)["alerts"]
    return {"stream": name, **line}


def rules_of(stream: Stream) -> Rules:
    """Return what a stream declares, as the watchdogs take it."""
    said, sensor = stream.watch, isinstance(stream, SensorStream)
    return Rules(
        stream=stream.name,
        silence=_patience(said.silence),
        late=_patience(said.late),
        flatline=_patience(stream.watch.flatline) if isinstance(stream, SensorStream) else "never",
        limits=stream.limits,
        step=_us(stream.grid.step) if isinstance(stream, SensorStream) else 0,
        lateness=_us(stream.lateness) if sensor else 0,
        merge=_us(stream.alert.merge),
        forget=_us(max(stream.training.history, RECENT)),
    )


def _patience(said: timedelta | Any) -> Any:
    return _us(said) if isinstance(said, timedelta) else said


def _us(length: timedelta) -> int:
    return length // _INSTANT


def _look(
    stream: Stream,
    store: observations.ObservationStore,
    at: observations.State,
    seen: dict[str, Any],
    habits: Habits,
    rules: Rules,
    now: datetime,
) -> tuple[State, list[Event]]:
    """Look at new records piece by piece; what goes on at the end of one is told at the end of the last."""
    state, events = State.from_json(seen.get("state", {})), []
    columns = columns_of(stream)
    if not columns:
        return state, []
    pieces = list(_pieces(stream, store, at, seen, len(columns)))
    for number, (first, last) in enumerate(pieces):
        records = store.read(first, last, columns=[*columns, "batch"])
        new = records.filter(pc.greater(records["batch"], seen.get("batch", 0)))
        state, found = look(state, habits, rules, readings(stream, new), micros(now))
        done = number + 1 == len(pieces)
        events += [e for e in found if done or not e.open or e.kind == RANGE]
    return (state, events) if pieces else look(state, habits, rules, {}, micros(now))


def _pieces(
    stream: Stream,
    store: observations.ObservationStore,
    at: observations.State,
    seen: dict[str, Any],
    width: int,
) -> Iterator[tuple[datetime, datetime]]:
    """Yield ranges of time that hold what came since the last look; at the first, the latest day."""
    if at.watermark is None or seen.get("batch") == at.batch:
        return
    begin = _horizon(stream, datetime.fromisoformat(seen["until"]) if seen else at.watermark)
    if seen:
        oldest = store.earliest(after=seen["batch"])
        if oldest is None:
            return
        begin = max(begin, oldest)
    yield from store.pieces(begin, at.watermark + _INSTANT, max(CELLS // width, 1))


def _horizon(stream: Stream, newest: datetime) -> datetime:
    step = stream.grid.step if isinstance(stream, SensorStream) else timedelta(0)
    return newest - max(RECENT, stream.lateness, 10 * step)


def _record(
    work: Workspace,
    stream: Stream,
    state: State,
    found: list[Event],
    at: observations.State,
    reached: dict[str, Any],
    airflow_run: str | None,
    *,
    first: bool,
) -> dict[str, int]:
    """Record events and move the cursor, in one transaction; what is history is recorded before, silently."""
    assert at.watermark is not None
    still = anomalies.list_anomalies(work.database, stream=stream.name, status="open", limit=100_000)
    known = {(a.kind, a.entity) for a in still if not a.silent}
    horizon = _horizon(stream, at.watermark)
    news: list[Event] = []
    history: list[Event] = []
    for event in found:
        recent = event.end >= horizon and (event.open or not first)
        (news if recent or (event.kind, event.entity) in known else history).append(event)
    common: dict[str, Any] = {
        "now": clock.now(),
        "receivers": at_once(work, stream),
        "context": Context.of(stream, airflow_run=airflow_run),
        "watermark": _judged(stream, state, at.watermark),
        "judges": (RANGE,),
    }
    if history:
        anomalies.record(work.database, stream.name, history, silent=True, **common)
    done = anomalies.record(
        work.database,
        stream.name,
        news,
        ending=_ending(stream, state, _flagged(work, stream, at)),
        cursor=(LOOKED, reached),
        **common,
    )
    return done.counts()


def _judged(stream: Stream, state: State, watermark: datetime) -> datetime | dict[str, datetime]:
    """Return up to when readings were looked at: of each machine to its last; cards are never silent."""
    if not isinstance(stream, SensorStream):
        return watermark
    return {name: moment(heard.last) for name, heard in state.heard.items()}


def _flagged(work: Workspace, stream: Stream, at: observations.State) -> bool:
    """Tell whether scores of all that was looked at were flagged: before, an anomaly may still go on."""
    return int(cursor(work.database, stream.name, FLAGGED).get("batch", 0)) >= at.batch


def _ending(stream: Stream, state: State, flagged: bool) -> Callable[[Anomaly], str]:
    """Return what says why an open anomaly ends now, though it was not seen to end."""
    said = stream.watch
    off = {
        SILENCE: said.silence == "never",
        LATE: said.late == "never",
        FLATLINE: not isinstance(stream, SensorStream) or stream.watch.flatline == "never",
        RANGE: not stream.limits,
    }
    silent = {name for name, heard in state.heard.items() if heard.silent}
    if state.late.since is not None and len(state.heard) == 1:
        silent |= state.heard.keys()  # a stream of one machine: that it is late is that it is silent

    def why(old: Anomaly) -> str:
        if off.get(old.kind):
            return "unwatched"
        if old.kind == SILENCE and old.entity not in state.heard:
            return "gone"
        held_back = old.kind == RECONSTRUCTION and not flagged
        if old.kind in (RECONSTRUCTION, FLATLINE, RANGE) and old.entity in silent and not held_back:
            return "silent"
        return ""

    return why
