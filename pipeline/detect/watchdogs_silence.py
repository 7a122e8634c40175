"""Silence: an entity that has reported, and sends nothing while others do.

In: an entity's new records and what was known of it. Out: what is known now, and events. Silence is measured
by the records of the stream itself, never by the wall clock: history read again raises nothing by its age,
and where the whole stream falls silent nobody does (`watchdogs_late` says so once).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from pipeline.detect.watchdogs_habits import Gaps, Ints
from pipeline.detect.watchdogs_moments import moment, span
from pipeline.events import SILENCE, Event

TIMES, LEAST_STEPS = 2, 5
"""A silence is that much longer than the longest usual gap, and than so many steps of the grid."""
_ENDLESS = int(np.iinfo(np.int64).max)


@dataclass(frozen=True, slots=True)
class StreamClock:
    """Time as the stream's own records tell it: where nobody sends, it hardly goes on.

    newest is the newest record (us UTC), reading what the clock shows there (us).
    """

    newest: int
    reading: int = 0

    def over(self, time: Ints, limit: int) -> Stretch:
        """Return how it goes on over records at `time` (us, sorted); a gap counts for `limit` at most."""
        marks = np.append(self.newest, time[time > self.newest])
        ticks = self.reading + np.append(0, np.cumsum(np.minimum(np.diff(marks), limit)))
        return Stretch(marks, ticks)


@dataclass(frozen=True, slots=True)
class Stretch:
    """The clock from one look to the next: what it shows at each record of the stream, us [T]."""

    marks: Ints
    ticks: Ints

    @property
    def end(self) -> StreamClock:
        """The clock at its end."""
        return StreamClock(int(self.marks[-1]), int(self.ticks[-1]))

    def at(self, time: Ints) -> Ints:
        """Return what it shows at `time` (us), moments of its records or earlier."""
        place = np.clip(np.searchsorted(self.marks, time, side="right") - 1, 0, None)
        return np.where(time < self.marks[0], self.ticks[0] - (self.marks[0] - time), self.ticks[place])


@dataclass(frozen=True, slots=True)
class Heard:
    """When an entity was last heard of: its newest record (us UTC) and the stream's clock then (us)."""

    last: int
    clock: int
    silent: bool = False
    """Whether it was found silent, and has not been heard of since."""


def patience(gaps: Gaps | None, *, declared: int | None, step: int, lateness: int) -> int | None:
    """Return how long an entity may be silent (us); None where nothing is known of it yet.

    Args:
        gaps: what is usual for it.
        declared: `watch.silence`, us; None is auto.
        step: of the grid, us; 0 for transactions.
        lateness: how late a record may come by declaration, us.
    """
    if declared is not None:
        return declared
    return max(TIMES * gaps.usual, LEAST_STEPS * step, lateness) if gaps else None


def silence(
    entity: str,
    heard: Heard | None,
    time: Ints,
    reading: Ints,
    *,
    before: int | None,
    now: StreamClock,
    wait: int | None,
    merge: int,
    usual: int | None = None,
) -> tuple[Heard | None, list[Event]]:
    """Return what is known of one entity now, and its silences: those that are over, and one that is not.

    Args:
        entity: whose records they are.
        heard: what was known of it; None for one that is new.
        time: of its new records, us, ascending; may be empty [T].
        reading: the stream's clock at them, us [T].
        before: the stream's newest record before these (us); None at the very first look.
        now: the stream's clock after them.
        wait: how long it may be silent, us; None is for ever.
        merge: silences closer than this are one, us.
        usual: how often it usually sends, us, for people.
    """
    wait = _ENDLESS if wait is None else wait
    if heard is None:
        fresh = time if before is None else time[time > before - wait]
        if not len(fresh):
            return None, []  # old records of somebody who is not here now
        heard, time, reading = Heard(int(fresh[0]), int(reading[-len(fresh)])), fresh, reading[-len(fresh) :]
    later = time > heard.last
    times = np.append(heard.last, time[later])
    clocks = np.maximum.accumulate(np.append(heard.clock, reading[later]))
    found = [
        (int(times[i]), int(times[i + 1]), int(clocks[i + 1] - clocks[i]), False)
        for i in np.flatnonzero(np.diff(clocks) > wait)
        if not (i == 0 and heard.silent)
    ]
    if heard.silent and len(times) > 1:
        end = int(times[1]) if before is None else max(int(times[1]), before)
        found.insert(0, (int(times[0]), end, int(clocks[1] - clocks[0]), False))
    known = Heard(int(times[-1]), int(clocks[-1]), heard.silent and len(times) == 1)
    quiet = now.reading - known.clock
    if known.silent or quiet > wait:
        known = replace(known, silent=True)
        found.append((known.last, max(now.newest, known.last), quiet, True))
    return known, [_event(entity, each, wait, usual) for each in _merged(found, merge)]


_Found = tuple[int, int, int, bool]


def _merged(found: list[_Found], merge: int) -> list[_Found]:
    """Join silences that hardly anything came between."""
    apart = [b[0] - a[1] > merge for a, b in pairwise(found)]
    out: list[_Found] = []
    for each, new in zip(found, [True, *apart], strict=bool(found)):
        if new:
            out.append(each)
        else:
            start, end, quiet, _ = out[-1]
            out[-1] = (start, max(end, each[1]), max(quiet, each[2]), each[3])
    return out


def _event(entity: str, found: _Found, wait: int, usual: int | None) -> Event:
    start, end, quiet, goes_on = found
    return Event(
        entity=entity,
        start=moment(start),
        end=moment(end),
        peak=moment(end),
        peak_score=max(quiet / wait, 1.0),
        severity="high",
        channels=(),
        open=goes_on,
        kind=SILENCE,
        usual=None if usual is None else span(usual),
    )
