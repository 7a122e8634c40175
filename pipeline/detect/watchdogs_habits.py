"""What is usual for an entity, learned from its history: how often it sends, how long a value stays the same.

In: one entity's times and values as stored. Out: habits in microseconds. Pure; the exceptions of the past (an
outage, a stuck sensor) do not become usual, what comes again and again (nights, weekends) does.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]

FORTNIGHT = 14 * 86_400_000_000
EXCEPTIONS = 2  # lengths that may be exceptions however short the history is
LEAST_GAPS, LEAST_READINGS = 20, 200
SPARSE = 3  # times the usual time from one reading to the next that it counts for at most
LEAST_VALUES = 5  # fewer are a switch or a command
LEAST_CHANGES = 0.05  # share of readings unlike the one before, below which a channel does not move
REST_SHARE, REST_TIMES = 0.01, 3  # a value is rested at when so many readings have it, so many times over


@dataclass(frozen=True, slots=True)
class Gaps:
    """How often an entity sends: median gap, and the longest gap that is still usual, in microseconds."""

    every: int
    usual: int


@dataclass(frozen=True, slots=True)
class Runs:
    """How long a channel that moves stays at exactly one value, in microseconds.

    every is the median time from one reading to the next; usual the longest run that is no exception; rests
    are the values it is known to rest at (off, full), each with the longest time it ever did.
    """

    every: int
    usual: int
    rests: tuple[tuple[float, int], ...] = ()

    def at(self, value: float) -> int:
        """Return the longest usual time at a value."""
        return max(self.usual, dict(self.rests).get(value, 0))

    def length(self, lasted: int, readings: int) -> int:
        """Return how long a run counts for: two equal readings with an outage between are no long run."""
        return min(lasted, SPARSE * self.every * (readings - 1))


def exceptions(count: int, span: int) -> int:
    """Return how many of `count` lengths may be exceptions: what comes less often than once in two weeks.

    Two at least, however short the `span` (us) they were seen in, and at most one in twenty.
    """
    return min(max(EXCEPTIONS, span // FORTNIGHT), count // LEAST_GAPS)


def longest_usual(lengths: Ints, span: int) -> int | None:
    """Return the longest of `lengths` [N] that is no exception; None where there are too few to tell."""
    if len(lengths) < LEAST_GAPS:
        return None
    rank = exceptions(len(lengths), span)
    return int(np.partition(lengths, -rank - 1)[-rank - 1])


def learn_gaps(time: Ints, lag: Ints) -> Gaps | None:
    """Learn from one entity's times (us, ascending [N]) and from how far it lagged behind (`lags`, [M])."""
    gap = np.diff(time)
    gap = gap[gap > 0]
    span = int(time[-1] - time[0]) if len(time) else 0
    usual = longest_usual(gap, span)
    if usual is None:
        return None
    return Gaps(int(np.median(gap)), max(usual, longest_usual(lag, span) or 0))


def lags(code: Ints, time: Ints, batch: Ints) -> list[Ints]:
    """Return, for each entity, how far behind the stream it was each time before it was heard of again.

    A machine whose files come an hour after the others' has no gaps, and is an hour behind all the same: that
    is usual for it. Measured when an ingest ended, which is when silence is looked for.

    Args:
        code: entity of each record, 0 to E - 1 [N].
        time: us [N], in any order.
        batch: ingest commit that brought the record [N].
    """
    if not len(code):
        return []
    batches, place = np.unique(batch, return_inverse=True)
    order = np.lexsort((time, place, code))
    code, time, place = code[order], time[order], place[order]
    last = np.append((code[1:] != code[:-1]) | (place[1:] != place[:-1]), True)
    code, time, place = code[last], time[last], place[last]
    newest = np.full(len(batches), np.iinfo(np.int64).min)
    np.maximum.at(newest, place, time)
    newest = np.maximum.accumulate(newest)
    edges = np.searchsorted(code, np.arange(int(code[-1]) + 2))
    out = []
    for begin, end in pairwise(edges):
        heard = np.maximum.accumulate(time[begin:end])
        out.append(newest[place[begin:end][1:] - 1] - heard[:-1])
    return out


def learn_runs(time: Ints, values: Floats) -> Runs | None:
    """Learn how long a channel stays at one value; None where it does not move, as a switch or a constant.

    Args:
        time: us, ascending [N].
        values: of one entity and channel, finite [N].
    """
    if len(values) < LEAST_READINGS:
        return None
    starts = np.append(0, np.flatnonzero(values[1:] != values[:-1]) + 1)
    if len(starts) - 1 < LEAST_CHANGES * len(values):
        return None
    distinct, which = np.unique(values[starts], return_inverse=True)
    if len(distinct) < LEAST_VALUES:
        return None
    count = np.diff(np.append(starts, len(values)))
    every = int(np.median(np.diff(time)))
    length = np.minimum(time[starts + count - 1] - time[starts], SPARSE * every * (count - 1))
    resting = np.bincount(which, weights=count) >= REST_SHARE * len(values)
    resting &= np.bincount(which) >= REST_TIMES
    longest = np.zeros(len(distinct), np.int64)
    np.maximum.at(longest, which, length)
    usual = longest_usual(length[~resting[which]], int(time[-1] - time[0]))
    rests = tuple((float(v), int(n)) for v, n in zip(distinct[resting], longest[resting], strict=True))
    return Runs(every, int(length.max()) if usual is None else usual, rests)
