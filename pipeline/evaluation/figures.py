"""How well scores tell what is wrong from what is not, where labels say.

In: labels, scores and flags of rows. Out: `Figures`, four numbers that mean something to people, and what
they are made of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.ranges import Bools, Ints, alarms, runs_within
from pipeline.evaluation.vus import usual_period, vus_pr


@dataclass(frozen=True)
class Events:
    """Labelled events against alarms: an event is found if any of its rows is in one."""

    events: int
    found: int
    alarms: int
    false_alarms: int
    """Alarms that touch no event."""

    @property
    def f1(self) -> float:
        """Twice the events found over themselves, all events and false alarms: 0 to 1."""
        return 2 * self.found / max(self.found + self.events + self.false_alarms, 1)


@dataclass(frozen=True)
class Figures:
    """What `evaluate` found."""

    rows: int
    """Rows that were judged: those with a label."""
    anomalous: int
    """Of them, rows labelled so."""
    average_precision: float | None
    """Of rows; None where all rows have one label."""
    vus_pr: float | None
    """None for transactions, which have no neighbours in time, and where no row is anomalous."""
    event_f1: float | None
    """None where there is no event."""
    events: int
    found: int
    alarms: int
    false_alarms: int
    false_alarms_a_day: float | None
    """None where time is a mere counter."""


def evaluate(
    label: Bools,
    score: NDArray[np.floating],
    flag: Bools,
    *,
    entity: Ints,
    time: Ints,
    merge_us: int,
    days: float | None,
    signal: NDArray[np.floating] | None,
) -> Figures:
    """Judge scores by labels.

    Args:
        label: true where a row is anomalous [N]; rows are in order of entity and time.
        score: high is anomalous [N], finite.
        flag: true where the detector would alarm [N].
        entity: whose row it is [N].
        time: microseconds [N].
        merge_us: flags at most this far apart are one alarm.
        days: for how long the rows were watched; None where that cannot be told.
        signal: the first channel [N], whose period is VUS-PR's tolerance; None for transactions.
    """
    from sklearn.metrics import average_precision_score  # a second, where nobody asks for figures

    both = bool(label.any() and not label.all())
    told = match(label, flag, entity, time, merge_us)
    volume = vus_pr(label, score, usual_period(signal)) if both and signal is not None else None
    return Figures(
        rows=len(label),
        anomalous=int(label.sum()),
        average_precision=float(average_precision_score(label, score)) if both else None,
        vus_pr=volume,
        event_f1=told.f1 if told.events else None,
        events=told.events,
        found=told.found,
        alarms=told.alarms,
        false_alarms=told.false_alarms,
        false_alarms_a_day=told.false_alarms / days if days else None,
    )


def match(label: Bools, flag: Bools, entity: Ints, time: Ints, merge_us: int) -> Events:
    """Count which labelled events are found, and which alarms touch none; rows as for `evaluate`."""
    begin, end = runs_within(label, entity)
    first, last = alarms(flag, entity, time, merge_us)
    return Events(
        events=len(begin),
        found=_touched(begin, end, first, last),
        alarms=len(first),
        false_alarms=len(first) - _touched(first, last, begin, end),
    )


def _touched(begin: Ints, end: Ints, first: Ints, last: Ints) -> int:
    """Count the spans begin to end that share a row with a span first to last; each kind is in order."""
    begun, over = np.searchsorted(first, end, side="right"), np.searchsorted(last, begin)
    return int(np.count_nonzero(begun > over))
