"""Detectors anyone could write in a minute: what a model has to beat to earn its place.

In: scaled values per row and channel, NaN where missing. Out: squared errors of the same shape, so that
`Detector` calibrates them like a model's. All are causal, and depend on a bounded number of rows before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pipeline.errors import NotEnoughData

SPREAD_FLOOR = 0.01  # scaled units
MOST_INPUTS = 512  # rows times channels that PCA looks at together
BLOCK = 8192

Floats = NDArray[np.floating[Any]]


def last_value(values: Floats) -> NDArray[np.float32]:
    """Expect the last observed value again: [T, C] → squared errors [T, C]; NaN before the first."""
    row = np.where(np.isnan(values), 0, np.arange(1, len(values) + 1)[:, None])
    last = np.vstack([np.zeros((1, values.shape[1]), int), np.maximum.accumulate(row, axis=0)[:-1]])
    held = np.take_along_axis(np.vstack([np.full((1, values.shape[1]), np.nan), values]), last, axis=0)
    difference: Floats = values - held
    return np.square(difference).astype(np.float32)


def moving_zscore(values: Floats, window: int = 32) -> NDArray[np.float32]:
    """Expect the mean of the `window` rows before, in units of their spread: [T, C] → squared [T, C].

    NaN where fewer than a quarter of those rows were observed.
    """
    out = np.full(values.shape, np.nan, np.float32)
    for start, before in _histories(values, window):
        rows = slice(start, start + len(before))
        seen = ~np.isnan(before)
        count = np.maximum(seen.sum(axis=2), 1)
        mean = np.where(seen, before, 0).sum(axis=2) / count
        spread = np.sqrt(np.where(seen, np.square(before - mean[:, :, None]), 0).sum(axis=2) / count)
        z = (values[rows] - mean) / np.maximum(spread, SPREAD_FLOOR)
        out[rows] = np.where(seen.sum(axis=2) >= max(2, window // 4), np.square(z), np.nan)
    return out


def _histories(values: Floats, window: int) -> Iterator[tuple[int, Floats]]:
    """Yield blocks [rows, C, window] of what came before each row, and the block's first row."""
    padded = np.vstack([np.full((window, values.shape[1]), np.nan), values])
    views = sliding_window_view(padded, window, axis=0)[: len(values)]
    for start in range(0, len(values), BLOCK):
        yield start, views[start : start + BLOCK]


class PcaReconstruction:
    """Reconstructs the last few rows from the directions that hold most of their variance.

    Args:
        length: rows seen at once; shortened where rows times channels would pass 512.
        keep: share of the variance that the directions kept hold.

    Example:
        >>> wave = np.sin(np.arange(2000) / 9)[:, None]
        >>> bool(np.nanmax(PcaReconstruction().fit([wave]).errors(wave)) < 0.2)
        True
    """

    def __init__(self, length: int = 8, keep: float = 0.95) -> None:
        self.length, self.keep = length, keep

    def fit(self, series: Sequence[Floats]) -> Self:
        """Learn from training rows, pieces [T, C].

        Raises:
            NotEnoughData: no piece is as long as a window.
        """
        channels = series[0].shape[1]
        self.length_ = max(1, min(self.length, MOST_INPUTS // channels))
        inputs = [self._inputs(s) for s in series if len(s) >= self.length_]
        if sum(len(i) for i in inputs) < 2:
            raise NotEnoughData(f"PCA needs more than {self.length_} rows in a row")
        rows = np.concatenate(inputs)
        self.mean_ = rows.mean(axis=0)
        variance, directions = np.linalg.eigh(
            np.cov(rows - self.mean_, rowvar=False).reshape(rows.shape[1], -1)
        )
        share = np.cumsum(variance[::-1]) / max(float(variance.sum()), 1e-12)
        self.directions_ = directions[:, ::-1][:, : int(np.searchsorted(share, self.keep)) + 1]
        return self

    def errors(self, values: Floats) -> NDArray[np.float32]:
        """Return squared errors [T, C], NaN where missing and in the first `length_ - 1` rows."""
        out = np.full(values.shape, np.nan, np.float32)
        for start in range(self.length_ - 1, len(values), BLOCK):
            rows = slice(start, min(start + BLOCK, len(values)))
            inputs = self._inputs(values[start - self.length_ + 1 : rows.stop]) - self.mean_
            left = (inputs - inputs @ self.directions_ @ self.directions_.T)[:, -values.shape[1] :]
            out[rows] = np.where(np.isnan(values[rows]), np.nan, np.square(left))
        return out

    def _inputs(self, values: Floats) -> NDArray[np.float64]:
        """Return the last `length_` rows at each row, oldest first [T - length_ + 1, length_ * C]."""
        filled = np.nan_to_num(np.asarray(values, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        views = sliding_window_view(filled, self.length_, axis=0)
        return views.transpose(0, 2, 1).reshape(len(views), -1)
