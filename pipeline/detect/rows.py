"""Reconstructed windows become one reconstruction per row, and that an error per row, feature and channel.

In: batches of windows and their reconstructions; what the rows really held. Out: mean reconstruction and
squared error of each row, the same to the last bit however the windows were batched, as long as batches
come in time order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError

ERROR_CAP = 1e12  # a reconstruction that overflowed is a huge error, not a missing one

Floats = NDArray[np.floating[Any]]


class RowMeans:
    """Averages window reconstructions into rows.

    A row is seen by the windows that end at it or at most `delay` rows later, so by the last `delay + 1`
    positions of each window. It is settled, and gets a number, once `(delay + 1) / stride` windows have
    seen it; until then it is NaN, so that a score never changes after it was given. Cells that are masked
    or left-padded stay NaN.

    Args:
        rows: rows on the axis that `end` counts along (series laid end to end).
        features: values per row, F.
        delay: later rows a row may wait for.
        stride: rows from one window's end to the next.
        settled_only: False gives a number to every row that at least one window has seen.
    """

    def __init__(
        self, rows: int, features: int, *, delay: int = 0, stride: int = 1, settled_only: bool = True
    ) -> None:
        if (delay + 1) % stride:
            raise DataError(f"delay + 1 = {delay + 1} is no multiple of stride {stride}")
        self._delay = delay
        self._needed = (delay + 1) // stride if settled_only else 1
        self._value = np.zeros((rows, features), np.float32)
        self._count = np.zeros((rows, features), np.uint16)

    def add(self, end: NDArray[np.integer[Any]], mask: Floats, reconstruction: Floats) -> None:
        """Take in a batch.

        Args:
            end: row of each window's last step [n], all different.
            mask: 1 where observed [n, L, F].
            reconstruction: what the model made of the windows [n, L, F].
        """
        order = _ascending(np.asarray(end, np.int64))
        end, length = np.asarray(end, np.int64)[order], mask.shape[1]
        for back in range(min(self._delay + 1, length)):  # oldest window of a row first: one fixed order
            at = length - 1 - back
            self._add_position(end - back, mask[order, at], reconstruction[order, at])

    def _add_position(self, row: NDArray[np.int64], mask: Floats, reconstruction: Floats) -> None:
        inside = row >= 0
        row, seen = row[inside], mask[inside] > 0
        self._value[row] += np.where(seen, _finite(reconstruction[inside]), 0)
        self._count[row] += seen

    def reconstruction(self) -> NDArray[np.float32]:
        """Return the mean reconstruction of each cell [rows, F], NaN where not observed or not settled."""
        mean = self._value / np.maximum(self._count, 1)
        return np.where(self._count >= self._needed, mean, np.float32(np.nan)).astype(np.float32)

    def settled(self) -> NDArray[np.bool_]:
        """Return which rows have a number [rows]."""
        return np.asarray((self._count >= self._needed).any(axis=1))


def squared_errors(values: Floats, reconstruction: Floats) -> NDArray[np.float32]:
    """Return the squared difference of what rows held and what was made of them [T, F], capped, NaN kept."""
    difference = np.abs(values.astype(np.float32) - reconstruction)
    return np.square(np.minimum(difference, np.float32(ERROR_CAP**0.5)))


def channel_errors(
    errors: Floats, channel_of: NDArray[np.integer[Any]], channels: int
) -> NDArray[np.float32]:
    """Average features into channels: [T, F] → [T, channels], over a channel's observed features.

    Feature by feature rather than by matrix product, whose rounding depends on how many rows there are.
    """
    total = np.zeros((len(errors), channels), np.float32)
    count = np.zeros((len(errors), channels), np.float32)
    for feature, channel in enumerate(channel_of):
        seen = ~np.isnan(errors[:, feature])
        total[:, channel] += np.where(seen, errors[:, feature], 0)
        count[:, channel] += seen
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _ascending(end: NDArray[np.int64]) -> NDArray[np.int64] | slice:
    if np.all(np.diff(end) > 0):
        return slice(None)
    order = np.argsort(end, kind="stable")
    if np.any(np.diff(end[order]) == 0):
        raise DataError("one window was handed over twice in a batch")
    return order


def _finite(reconstruction: Floats) -> NDArray[np.float32]:
    cap = np.float32(ERROR_CAP)
    made = np.where(np.isnan(reconstruction), cap, reconstruction)
    return np.clip(made, -cap, cap).astype(np.float32)
