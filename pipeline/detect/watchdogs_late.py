"""Late: the newest record of the whole stream is older than it should be by the clock. One alert for all.

In: the newest record, the clock, and how late records came so far. Out: what is known now, and an event.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.detect.watchdogs_habits import FORTNIGHT, Gaps, exceptions
from pipeline.detect.watchdogs_moments import moment, span
from pipeline.events import LATE, Event

TIMES = 2
"""A stream is late at that many times the longest usual lateness."""
LEAST_ARRIVALS = 20
REMEMBERED = 6 * FORTNIGHT
_WORST = 12  # latenesses kept: more than may ever be exceptions


@dataclass(frozen=True, slots=True)
class Lateness:
    """How late the stream's records came so far, and since when it is late now.

    arrivals counts how often new records had come, the first time at `began` (us UTC). worst holds the
    largest ages that the newest record had reached until then, and when that was: (us UTC, us), largest
    first. since is the newest record when the stream became late, looked when it was last looked at (us UTC).
    """

    arrivals: int = 0
    began: int | None = None
    worst: tuple[tuple[int, int], ...] = ()
    since: int | None = None
    looked: int | None = None

    def usual(self, now: int) -> int | None:
        """Return the longest lateness that is no exception, us; None after fewer than twenty arrivals."""
        if self.arrivals < LEAST_ARRIVALS or self.began is None:
            return None
        rank = exceptions(self.arrivals, min(now - self.began, REMEMBERED))
        return self.worst[min(rank, len(self.worst) - 1)][1] if self.worst else None


def arrived(known: Lateness, *, before: int, now: int) -> Lateness:
    """Note that new records came; the newest until then was `before` (us UTC)."""
    recent = [each for each in known.worst if each[0] >= now - REMEMBERED]
    worst = sorted([*recent, (now, max(now - before, 0))], key=lambda each: -each[1])[:_WORST]
    began = now if known.began is None else known.began
    return replace(known, arrivals=known.arrivals + 1, began=began, worst=tuple(worst))


def patience(
    known: Lateness, *, now: int, declared: int | None, gaps: Gaps | None, lateness: int
) -> int | None:
    """Return how old the newest record may be (us); None while too little is known to tell.

    Args:
        known: how late records came so far.
        now: the clock, us UTC.
        declared: `watch.late`, us; None is auto.
        gaps: what is usual from one record of the stream to the next.
        lateness: how late a record may come by declaration, us.
    """
    if declared is not None:
        return declared
    usual = known.usual(now)
    return None if usual is None else max(TIMES * usual, TIMES * gaps.usual if gaps else 0, lateness)


def late(
    stream: str,
    known: Lateness,
    *,
    newest: int,
    now: int,
    declared: int | None,
    gaps: Gaps | None,
    lateness: int,
) -> tuple[Lateness, list[Event]]:
    """Return what is known now, and the lateness that goes on or has just ended.

    With auto, a look after a longer pause than what it waits for finds nothing: if nobody looked, the ingest
    may not have run either, and the next look will tell.

    Args:
        stream: its name, which the event has for its entity.
        known: how late records came so far, the present ones noted.
        newest: record of the whole stream, us UTC.
        now: the clock, us UTC.
        declared: `watch.late`, us; None is auto.
        gaps: what is usual from one record of the stream to the next.
        lateness: how late a record may come by declaration, us.
    """
    wait = patience(known, now=now, declared=declared, gaps=gaps, lateness=lateness)
    looked, usual = known.looked, known.usual(now)
    known = replace(known, looked=now)
    if wait is None:
        return known, []
    age = now - newest
    away = declared is None and (looked is None or now - looked > wait)
    if known.since is None and (age <= wait or away):
        return known, []
    since = newest if known.since is None else known.since
    goes_on = age > wait
    event = Event(
        entity=stream,
        start=moment(since),
        end=moment(max(now, since)),
        peak=moment(max(now, since)),
        peak_score=max((now - since) / wait, 1.0),
        severity="high",
        channels=(),
        open=goes_on,
        kind=LATE,
        usual=None if usual is None else span(usual),
    )
    return replace(known, since=since if goes_on else None), [event]
