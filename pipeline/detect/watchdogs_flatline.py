"""Flatline: a channel that usually moves, and reports exactly the same value for far longer than it does.

In: one entity's new readings and the run each channel was in. Out: the runs now, and events. An autoencoder
reconstructs a flat line well; this is for what it does not see.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from pipeline.detect.watchdogs_habits import Floats, Ints, Runs
from pipeline.detect.watchdogs_moments import moment, span
from pipeline.events import FLATLINE, Contribution, Event

TIMES, LEAST_READINGS = 4, 30
"""A flat line is that much longer than the longest usual run, and than so many readings take."""


@dataclass(frozen=True, slots=True)
class Run:
    """The value a channel has now: since and until when (us UTC), how often it was read, if it is flat."""

    value: float
    since: int
    last: int
    readings: int
    flat: bool = False


@dataclass(frozen=True, slots=True)
class Flat:
    """A channel that was flat: from `start` to `end` (us UTC), `ratio` times as long as it may be."""

    channel: str
    value: float
    start: int
    end: int
    goes_on: bool
    ratio: float
    usual: int


def patience(runs: Runs, value: float, declared: int | None) -> int:
    """Return how long a channel may stay at a value, us; `declared` is `watch.flatline`, None auto.

    A value that it is known to rest at keeps its own, longer time.
    """
    if declared is None:
        return max(TIMES * runs.at(value), LEAST_READINGS * runs.every)
    rest = dict(runs.rests).get(value)
    return declared if rest is None else max(declared, TIMES * rest)


def flats(
    channel: str, run: Run | None, time: Ints, values: Floats, usual: Runs, declared: int | None
) -> tuple[Run | None, list[Flat]]:
    """Follow one channel; return the run it is in now, and where it was flat.

    Args:
        channel: its name.
        run: it was in; None where nothing is known.
        time: of its new readings, us, ascending [T].
        values: finite [T].
        usual: how long it usually stays at a value.
        declared: `watch.flatline`, us; None is auto.
    """
    run = _mended(run, time, values)
    fresh = time > run.last if run else np.ones(len(time), np.bool_)
    spans = _spans(run, time[fresh], values[fresh])
    found = []
    for number, each in enumerate(spans):
        wait, ends = patience(usual, each.value, declared), number + 1 < len(spans)
        length = usual.length(each.last - each.since, each.readings)
        if each.flat or length > wait:
            each = spans[number] = replace(each, flat=True)
            end = spans[number + 1].since if ends else each.last
            ratio, longest = max(length / wait, 1.0), usual.at(each.value)
            found.append(Flat(channel, each.value, each.since, end, not ends, ratio, longest))
    return (spans[-1] if spans else None), found


def flatlines(entity: str, found: Iterable[Flat], merge: int) -> list[Event]:
    """Make one event of flat channels of one entity that overlap, or are closer than `merge` (us)."""
    groups: list[list[Flat]] = []
    end = 0
    for flat in sorted(found, key=lambda f: f.start):
        if groups and flat.start - end <= merge:
            groups[-1].append(flat)
            end = max(end, flat.end)
        else:
            groups.append([flat])
            end = flat.end
    return [_event(entity, group) for group in groups]


def moving(habits: Mapping[str, Runs], span_us: int) -> dict[str, Runs]:
    """Return the channels that can be told to be flat: not those usually flat for half the history."""
    return {name: runs for name, runs in habits.items() if TIMES * runs.usual <= span_us / 2}


def _mended(run: Run | None, time: Ints, values: Floats) -> Run | None:
    """Cut a run short where a late reading says that it was not one."""
    if run is None:
        return None
    broken = time[(time >= run.since) & (time <= run.last) & (values != run.value)]
    return replace(run, since=int(broken[-1]), readings=1, flat=False) if len(broken) else run


def _spans(run: Run | None, time: Ints, values: Floats) -> list[Run]:
    changed = np.flatnonzero(values[1:] != values[:-1]) + 1
    edges = [0, *changed.tolist(), len(values)] if len(values) else []
    spans = [Run(float(values[a]), int(time[a]), int(time[b - 1]), b - a) for a, b in pairwise(edges)]
    if run is None:
        return spans
    if spans and spans[0].value == run.value:
        more = run.readings + spans[0].readings
        return [replace(run, last=spans[0].last, readings=more), *spans[1:]]
    return [run, *spans]


def _event(entity: str, group: list[Flat]) -> Event:
    worst = max(group, key=lambda f: (f.ratio, f.channel))
    names = {f.channel: f for f in sorted(group, key=lambda f: f.ratio)}
    last = sorted(names.values(), key=lambda f: (-f.ratio, f.channel))
    end = max(f.end for f in group)
    return Event(
        entity=entity,
        start=moment(min(f.start for f in group)),
        end=moment(end),
        peak=moment(end),
        peak_score=worst.ratio,
        severity="medium",
        channels=tuple(Contribution(f.channel, 1 / len(last), None, f.value) for f in last),
        open=any(f.goes_on for f in group),
        kind=FLATLINE,
        usual=span(worst.usual),
    )
