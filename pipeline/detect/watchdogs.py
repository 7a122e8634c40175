"""The watchdogs beside the model: what an autoencoder cannot see, or reconstructs all too well.

In: what was known at the last look, the records that came since, the rules. Out: what is known now, and
events of kinds silence, flatline, range and late. Pure: looking again at the same gives the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.detect.watchdogs_flatline import Flat, Run, flatlines, flats, moving
from pipeline.detect.watchdogs_habits import Floats, Ints
from pipeline.detect.watchdogs_late import arrived, late
from pipeline.detect.watchdogs_range import Limits, outside
from pipeline.detect.watchdogs_silence import Heard, StreamClock, patience, silence
from pipeline.detect.watchdogs_state import Habits, State
from pipeline.events import Event

__all__ = ["Habits", "Readings", "Rules", "State", "look", "look_at_the_clock"]

Patience = int | Literal["auto", "never"]
"""Microseconds, or what to do without a number."""
_ENDLESS = int(np.iinfo(np.int64).max)


@dataclass(frozen=True)
class Rules:
    """What a stream declares, in microseconds."""

    stream: str
    silence: Patience = "auto"
    late: Patience = "auto"
    flatline: Patience = "never"
    limits: Limits = field(default_factory=dict)
    step: int = 0
    """Of a sensor's grid."""
    lateness: int = 0
    merge: int = 0
    forget: int = _ENDLESS
    """How long after its last record an entity is no longer part of the stream."""

    @property
    def tracks(self) -> bool:
        """Whether it matters when each entity was last heard of: for cards only if silence does."""
        return self.step > 0 or self.silence != "never"


@dataclass(frozen=True)
class Readings:
    """New records of one entity: time us UTC, ascending [T]; values by channel [T], NaN if not measured."""

    time: Ints
    values: Mapping[str, Floats] = field(default_factory=dict)
    ids: NDArray[Any] | None = None


def look(
    state: State, habits: Habits, rules: Rules, new: Mapping[str, Readings], now: int
) -> tuple[State, list[Event]]:
    """Look at new records; return what is known after them and what is wrong.

    A record with a time after `now` (us UTC) is taken as sent now: one fast clock makes nobody silent.
    """
    heard, clock, events = _silences(state, habits, rules, new, now)
    runs = dict(state.runs)
    if rules.flatline != "never":
        runs, found = _flatlines(state, habits, rules, new)
        events += found
    newest = clock.newest if clock else 0
    for entity, mine in sorted(new.items()):
        judged = int(mine.time[-1]) if mine.ids is None and len(mine.time) else newest
        events += outside(
            entity, mine.time, mine.values, rules.limits, merge=rules.merge, judged=judged, ids=mine.ids
        )
    kept = {name: by_channel for name, by_channel in runs.items() if name in heard and by_channel}
    return replace(state, clock=clock, heard=heard, runs=kept), events


def look_at_the_clock(
    state: State, habits: Habits, rules: Rules, *, before: int | None, newest: int, now: int
) -> tuple[State, list[Event]]:
    """Compare the stream's newest record with the clock.

    Args:
        state: what is known.
        habits: what is usual.
        rules: what is declared.
        before: the newest record at the last look, us UTC; None at the first.
        newest: the newest record now, us UTC.
        now: the clock, us UTC.
    """
    known = state.late
    if before is not None and newest > before:
        known = arrived(known, before=before, now=now)
    if rules.late == "never":
        return replace(state, late=replace(known, since=None, looked=now)), []
    known, events = late(
        rules.stream,
        known,
        newest=newest,
        now=now,
        declared=_declared(rules.late),
        gaps=habits.stream,
        lateness=rules.lateness,
    )
    return replace(state, late=known), events


def _declared(wait: Patience) -> int | None:
    return wait if isinstance(wait, int) else None


def _silences(
    state: State, habits: Habits, rules: Rules, new: Mapping[str, Readings], now: int
) -> tuple[dict[str, Heard], StreamClock | None, list[Event]]:
    times = {name: np.minimum(mine.time, now) for name, mine in new.items() if len(mine.time)}
    every = np.unique(np.concatenate(list(times.values()))) if times else np.zeros(0, np.int64)
    clock = state.clock
    if clock is None:
        if not len(every):
            return {}, None, []
        clock = StreamClock(int(every[0]))
    tracked = sorted({*state.heard, *times}) if rules.tracks else []
    waits = {name: _wait(habits, rules, name) for name in tracked}
    limit = min((w for w in waits.values() if w is not None), default=_ENDLESS) // 2
    stretch = clock.over(every, limit)
    after, before = stretch.end, state.clock.newest if state.clock else None
    heard, events, none = {}, [], np.zeros(0, np.int64)
    for name, wait in waits.items():
        mine, gaps = times.get(name, none), habits.gaps(name)
        known, found = silence(
            name,
            state.heard.get(name),
            mine,
            stretch.at(mine),
            before=before,
            now=after,
            wait=wait,
            merge=rules.merge,
            usual=gaps.every if gaps else None,
        )
        if known and after.newest - known.last <= rules.forget:
            heard[name] = known
            events += found
    return heard, after, events


def _wait(habits: Habits, rules: Rules, entity: str) -> int | None:
    if rules.silence == "never":
        return None
    return patience(
        habits.gaps(entity), declared=_declared(rules.silence), step=rules.step, lateness=rules.lateness
    )


def _flatlines(
    state: State, habits: Habits, rules: Rules, new: Mapping[str, Readings]
) -> tuple[dict[str, Mapping[str, Run]], list[Event]]:
    runs, events = dict(state.runs), []
    for entity, mine in sorted(new.items()):
        runs[entity], found = _flat_channels(state.runs.get(entity, {}), habits, rules, entity, mine)
        events += flatlines(entity, found, rules.merge)
    return runs, events


def _flat_channels(
    known: Mapping[str, Run], habits: Habits, rules: Rules, entity: str, mine: Readings
) -> tuple[dict[str, Run], list[Flat]]:
    habit = habits.entities.get(entity)
    watched = moving(habit.runs, habit.span) if habit else {}
    runs: dict[str, Run] = {}
    # one that is not watched any more is over, if it was flat
    found = [
        Flat(name, run.value, run.since, run.last, False, 1.0, 0)
        for name, run in known.items()
        if run.flat and name not in watched
    ]
    for name, usual in watched.items():
        values = mine.values.get(name, np.full(len(mine.time), np.nan))
        real = np.isfinite(values)
        run, mine_found = flats(
            name, known.get(name), mine.time[real], values[real], usual, _declared(rules.flatline)
        )
        if run:
            runs[name] = run
        found += mine_found
    return runs, found
