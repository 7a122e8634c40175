"""Runs of rows: where labels or flags begin and end.

In: masks in order of time. Out: first and last rows of their runs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def runs(mask: Bools) -> tuple[Ints, Ints]:
    """Return first and last rows, both inclusive, of each unbroken run of true rows [R], [R]."""
    edges = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1


def runs_within(mask: Bools, group: Ints) -> tuple[Ints, Ints]:
    """Return runs as `runs` does, cut where `group` changes; rows of a group lie together."""
    rows = np.flatnonzero(mask)
    apart = (np.diff(rows) > 1) | (np.diff(group[rows]) != 0)
    return _cut(rows, apart)


def alarms(flag: Bools, group: Ints, time: Ints, gap: int) -> tuple[Ints, Ints]:
    """Return first and last rows of alarms: flags of a group that lie at most `gap` apart in `time`."""
    rows = np.flatnonzero(flag)
    apart = (np.diff(time[rows]) > gap) | (np.diff(group[rows]) != 0)
    return _cut(rows, apart)


def _cut(rows: Ints, apart: Bools) -> tuple[Ints, Ints]:
    if not len(rows):
        return rows, rows
    return rows[np.append(True, apart)], rows[np.append(apart, True)]
