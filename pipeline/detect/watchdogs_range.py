"""Range: readings outside the limits that the YAML declares.

In: one entity's new readings. Out: events, in the way of all others: readings closer than `merge` are one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.detect.watchdogs_habits import Floats, Ints
from pipeline.detect.watchdogs_moments import moment
from pipeline.events import RANGE, Contribution, Event

_MOST = 1e12  # widths outside; beyond this they say no more
Limits = Mapping[str, tuple[float | None, float | None]]


def outside(
    entity: str,
    time: Ints,
    values: Mapping[str, Floats],
    limits: Limits,
    *,
    merge: int,
    judged: int,
    ids: NDArray[Any] | None = None,
) -> list[Event]:
    """Return the events of one entity whose readings broke a limit, earliest first.

    The peak is the reading furthest outside, counted in widths of the range (in the limit's own size where
    there is but one), and the channels are those outside then, with the limit as what was expected.

    Args:
        entity: whose readings they are.
        time: us, ascending [T].
        values: by channel [T]; NaN is no reading.
        limits: low and high by channel; None is no limit.
        merge: readings outside that are closer than this are one event, us.
        judged: up to when everything was looked at, us; an event that may go on after it is open.
        ids: of transactions [T].
    """
    names = [name for name in limits if name in values]
    if not names or not len(time):
        return []
    excess = np.column_stack([_excess(values[name], *limits[name]) for name in names])
    broken = np.flatnonzero((excess > 0).any(axis=1))
    groups = np.split(broken, np.flatnonzero(np.diff(time[broken]) > merge) + 1)
    return [
        _event(entity, time, group, excess, names, values, limits, judged - merge, ids)
        for group in groups
        if len(group)
    ]


def _excess(values: Floats, low: float | None, high: float | None) -> Floats:
    """Return how far outside each value is [T], 0 inside."""
    bounds = [b for b in (low, high) if b is not None]
    width = bounds[1] - bounds[0] if len(bounds) == 2 else abs(bounds[0])
    below = -np.inf if low is None else low
    above = np.inf if high is None else high
    beyond = np.maximum(np.nan_to_num(below - values, nan=0.0), np.nan_to_num(values - above, nan=0.0))
    return np.asarray(np.clip(beyond / (width or 1.0), 0.0, _MOST))


def _event(
    entity: str,
    time: Ints,
    group: NDArray[np.intp],
    excess: Floats,
    names: list[str],
    values: Mapping[str, Floats],
    limits: Limits,
    settled: int,
    ids: NDArray[Any] | None,
) -> Event:
    peak = int(group[excess[group].max(axis=1).argmax()])
    shares = excess[peak] / excess[peak].sum()
    order = [int(c) for c in np.argsort(-shares, kind="stable") if shares[c] > 0]
    last = int(time[group[-1]])
    return Event(
        entity=entity,
        start=moment(int(time[group[0]])),
        end=moment(last),
        peak=moment(int(time[peak])),
        peak_score=1 + float(excess[peak].max()),
        severity="high",
        channels=tuple(_part(names[c], float(shares[c]), values[names[c]][peak], limits) for c in order),
        open=last >= settled,
        ids=() if ids is None else tuple(str(i) for i in ids[group]),
        kind=RANGE,
    )


def _part(name: str, share: float, value: float, limits: Limits) -> Contribution:
    low, high = limits[name]
    crossed = high if high is not None and value > high else low
    return Contribution(name, share, crossed, float(value))
