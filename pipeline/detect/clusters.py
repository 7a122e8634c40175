"""Scores above a level, grouped as alarms would be.

In: joint scores of all entities. Out: clusters and their peaks, so that alarms are counted and not rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Joint scores laid end to end, sorted by entity and time: entity code, time (us UTC), score."""

    entity: NDArray[np.int64]
    time: NDArray[np.int64]
    score: Floats

    @classmethod
    def of(cls, entity: NDArray[Any], time: NDArray[Any], score: NDArray[Any]) -> Scores:
        """Sort, and leave out rows without a score."""
        order = np.lexsort((time, entity))
        order = order[np.isfinite(score[order])]
        return cls(entity[order].astype(np.int64), time[order].astype(np.int64), score[order].astype(float))

    def only(self, rows: NDArray[np.bool_]) -> Scores:
        """Keep some rows."""
        return Scores(self.entity[rows], self.time[rows], self.score[rows])


@dataclass(frozen=True)
class Clusters:
    """Rows above a level, grouped as alarms would be: each row, its cluster, each cluster's peak."""

    row: NDArray[np.int64]
    cluster: NDArray[np.int64]
    peak: Floats


def clusters(scores: Scores, level: float, gap_us: int) -> Clusters:
    """Group the rows above `level` that lie at most `gap_us` apart in one entity."""
    row = np.flatnonzero(scores.score > level)
    new = np.ones(len(row), bool)
    new[1:] = (np.diff(scores.entity[row]) != 0) | (np.diff(scores.time[row]) > gap_us)
    start = np.flatnonzero(new)
    peak = np.maximum.reduceat(scores.score[row], start) if len(row) else np.empty(0)
    return Clusters(row, np.cumsum(new) - 1, peak)
