"""NAB's scoring, standard profile (Lavin and Ahmad, ICMLA 2015; as NAB 1.1's sweeper computes it).

In: each file's scores, its windows and where probation ends. Out: the total, 100 for a perfect detector and 0
for one that never speaks, at one threshold for the whole corpus.

With y running from -1 at a window's left edge to 0 just past its right, and s(y) = 2 / (1 + exp(5y)) - 1,
the best detection in a window earns s(y) / s(-1); a detection outside costs .11 |s(y)|, y being the
distance past the last window in lengths of it, and .11 from three lengths on or where no window came
before; a window without any costs 1. Rows in probation neither earn nor cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PROBATION, MOST_PROBATION = 0.15, 750
FALSE_ALARM = 0.11
FAR = 3.0  # window lengths

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Piece:
    """One file: its scores [T], and the first and last row of each window, both inside."""

    score: Floats
    windows: Sequence[tuple[int, int]]

    @property
    def probation(self) -> int:
        """Rows at the start that do not count."""
        return probation(len(self.score))


@dataclass(frozen=True)
class Swept:
    """The best that one threshold for the corpus can do."""

    total: float
    threshold: float
    """Rows that score at least this are detections; infinite where silence is best."""


def probation(rows: int) -> int:
    """Return how many rows of a file are for learning: 15 %, at most 750."""
    return int(min(math.floor(PROBATION * rows), MOST_PROBATION))


def sigmoid(y: float) -> float:
    """Return s(y): .987 at -1, 0 at 0, -1 from three window lengths on."""
    return -1.0 if y >= FAR else 2 / (1 + math.exp(5 * y)) - 1


def gains(piece: Piece) -> tuple[Floats, NDArray[np.int64]]:
    """Return what a detection at each row is worth, and its window's number, -1 outside [T]."""
    rows = len(piece.score)
    gain, window = np.full(rows, -FALSE_ALARM), np.full(rows, -1)
    before: tuple[int, int] | None = None
    for number, (first, last) in enumerate(piece.windows):
        _fade(gain, before, first)
        length = last - first + 1
        for row in range(first, last + 1):
            gain[row] = sigmoid(-(last - row + 1) / length) / sigmoid(-1)
        window[first : last + 1] = number
        before = (first, last)
    _fade(gain, before, rows)
    return gain, window


def _fade(gain: Floats, before: tuple[int, int] | None, until: int) -> None:
    """Let a false alarm cost less soon after a window: it may be about that window."""
    if before is None:
        return
    first, last = before
    for row in range(last + 1, until):
        gain[row] = FALSE_ALARM * sigmoid((row - last) / max(last - first, 1))


def sweep(pieces: Sequence[Piece]) -> Swept:
    """Find the threshold that scores best over the corpus: NAB's own use of labels, the same for everyone."""
    score, gain, window, windows = _counted(pieces)
    order = np.argsort(-score, kind="stable")
    earned, total = np.full(windows, -1.0), -float(windows)
    best = Swept(_normal(total, windows), math.inf)
    for place, row in enumerate(order):
        number = window[row]
        if number < 0:
            total += gain[row]
        elif gain[row] > earned[number]:
            total += gain[row] - earned[number]
            earned[number] = gain[row]
        last = place + 1 == len(order) or score[order[place + 1]] != score[row]
        if last and _normal(total, windows) > best.total:
            best = Swept(_normal(total, windows), float(score[row]))
    return best


def total_at(pieces: Sequence[Piece], threshold: float) -> float:
    """Return the total where rows that score at least `threshold` are detections."""
    score, gain, window, windows = _counted(pieces)
    found = score >= threshold
    earned = np.full(windows, -1.0)
    inside = found & (window >= 0)
    np.maximum.at(earned, window[inside], gain[inside])
    return _normal(float(earned.sum() + gain[found & (window < 0)].sum()), windows)


def _counted(pieces: Sequence[Piece]) -> tuple[Floats, Floats, NDArray[np.int64], int]:
    """Return score, gain and window of all rows past probation, windows numbered over the corpus."""
    parts, seen = [], 0
    for piece in pieces:
        gain, window = gains(piece)
        past = slice(piece.probation, None)
        parts.append((piece.score[past], gain[past], np.where(window >= 0, window + seen, -1)[past]))
        seen += len(piece.windows)
    score, gain, window = (np.concatenate(column) for column in zip(*parts, strict=True))
    met = np.unique(window[window >= 0])  # a window that ends in probation does not count
    return score, gain, np.where(window >= 0, np.searchsorted(met, window), -1), len(met)


def _normal(total: float, windows: int) -> float:
    return 100 * (total + windows) / (2 * windows)
