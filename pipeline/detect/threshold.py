"""An alert budget becomes a threshold on the joint score.

In: joint scores of normal data held out in time. Out: the level that they, and data like them, cross as
often as the stream can live with, also where that is less often than they were watched for.

Peaks over threshold (Davison and Smith 1990) on declustered scores: alarms are counted, not rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.detect.clusters import Scores, clusters
from pipeline.detect.tail import fit_tail
from pipeline.errors import NotEnoughData

MIN_ROWS = 50
ENOUGH_PEAKS = 100  # go no further into the tail than this many clusters
LEVELS = (0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)
WEEK = 604800.0
OBVIOUS = 1.5  # contamination lies so many times further above the bulk than the bulk's tail could reach
BLOCKS = 5  # of held-out time, each judged by the others
ALARMS = 10  # in all, that the blocks are expected to give each other
MOST_OVERRUN = 5.0
MOST_CONTAMINATION = 0.08  # of rows, flanks included; what is more frequent is how the stream is

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Threshold:
    """A level, and how it came about; rates are false alarms a week over the whole stream."""

    value: float
    level: float  # where the tail begins
    peaks: int  # clusters above it
    scale: float
    shape: float
    budget_per_week: float
    expected_per_week: float
    held_out_weeks: float
    held_out_alarms: int  # of the held-out rows at this threshold
    trimmed: int  # clusters left out as contamination; they stay in held_out_alarms
    overrun: float  # alarms for one expected, in held-out time judged by the rest of it; at least 1


def fit_threshold(
    scores: Scores, *, per_second: float, seconds: float, gap_us: int, floor: float, trust: float = 1.0
) -> Threshold:
    """Find the level that is crossed `per_second` times, and never one below `floor`.

    Args:
        scores: held-out normal scores of all entities.
        per_second: the alert budget over all entities together.
        seconds: how long the stream was watched to get `scores`.
        gap_us: flags of an entity at most this far apart are one alarm.
        floor: lowest sensible threshold.
        trust: 0 to 1, how far to go from there, by a geometric mean, to what the tail tells: what was held
            out a few times over says little of how far it reaches.

    Raises:
        NotEnoughData: fewer than 50 rows have a score, or all at one moment.
    """
    if len(scores.score) < MIN_ROWS:
        raise NotEnoughData(f"{len(scores.score)} held-out rows have a score; calibration needs {MIN_ROWS}")
    if seconds <= 0:
        raise NotEnoughData("all held-out rows have the same time: no rate can be told from them")
    clean, trimmed = trim(scores, gap_us)
    excess_alarms = overrun(clean, gap_us)
    allowed = per_second * seconds / excess_alarms
    level, peak = _tail_start(clean, allowed, gap_us)
    tail = fit_tail(peak - level) if len(peak) else None
    reached = max(floor, level + (tail.level(allowed / len(peak)) if tail else 0.0))
    value = floor * (reached / floor) ** trust
    crossing = len(peak) * tail.survival(value - level) if tail else 0.0
    return Threshold(
        value=value,
        level=level,
        peaks=len(peak),
        scale=tail.scale if tail else 0.0,
        shape=tail.shape if tail else 0.0,
        budget_per_week=per_second * WEEK,
        expected_per_week=crossing * excess_alarms / seconds * WEEK,
        held_out_weeks=seconds / WEEK,
        held_out_alarms=len(clusters(scores, value, gap_us).peak),
        trimmed=trimmed,
        overrun=excess_alarms,
    )


def overrun(scores: Scores, gap_us: int) -> float:
    """Return how many alarms come for each one expected, when time moves on: 1 to 5.

    Normal data drifts, so that the tail of one week promises too little for the next. Each fifth of the
    held-out time is judged at a level that the other four set for ten alarms in all; the alarms that
    come divide the budget.
    """
    edges = np.quantile(scores.time, np.arange(1, BLOCKS) / BLOCKS)
    block = np.searchsorted(edges, scores.time, side="right")
    came, expected = 0, 0.0
    for one in range(BLOCKS):
        level, peak = _tail_start(scores.only(block != one), ALARMS, gap_us)
        if len(peak) < ALARMS / 2:
            return 1.0  # too little to tell
        alarms = min(ALARMS, len(peak) / 2)
        level += fit_tail(peak - level).level(alarms * (BLOCKS - 1) / BLOCKS / len(peak))
        came += len(clusters(scores.only(block == one), level, gap_us).peak)
        expected += alarms / BLOCKS
    return float(np.clip(came / expected, 1.0, MOST_OVERRUN))


def trim(scores: Scores, gap_us: int) -> tuple[Scores, int]:
    """Leave out clusters that are obviously no normal data, and say how many.

    The body of the peaks (the lower four fifths; the rest counts only as 'higher') says how far the
    highest of them could reach. What lies half as far again is taken for an anomaly that slipped into the
    held-out data, if it is at most 8 % of the rows. The price: a rare, violent but harmless event is
    taken for one too, and alarms when it comes again.
    """
    level, peak = _tail_start(scores, 0.0, gap_us, LEVELS[:3])
    if len(peak) < 10:
        return scores, 0
    found = clusters(scores, level, gap_us)
    excess = found.peak - level
    tail = fit_tail(excess, censor=float(np.quantile(excess, 0.8)))
    wild = excess > OBVIOUS * tail.level(0.01 / len(excess))
    normal = np.ones(len(scores.score), bool)
    normal[found.row[wild[found.cluster]]] = False
    if normal.mean() < 1 - MOST_CONTAMINATION:
        return scores, 0
    return scores.only(normal), int(wild.sum())


def _tail_start(
    scores: Scores, expected: float, gap_us: int, levels: tuple[float, ...] = LEVELS
) -> tuple[float, Floats]:
    """Return the highest level with enough clusters above it (else with the most), and their peaks.

    Enough is a hundred, and twice the `expected` number of alarms: the budget then lies above it.
    """
    best = (float(np.max(scores.score, initial=0.0)), np.empty(0))
    for level in np.quantile(scores.score, levels) if len(scores.score) else ():
        peak = clusters(scores, level, gap_us).peak
        enough = len(peak) >= max(ENOUGH_PEAKS, 2 * expected)
        if enough or len(peak) > len(best[1]):
            best = (float(level), peak)
    return best
