"""What the models room needs to know of windows: a protocol, and windows cut from plain arrays.

In: feature rows and their mask. Out: batches of windows, clean of everything that was not observed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Batch = tuple[NDArray[np.float32], NDArray[np.float32]]


class WindowSource(Protocol):
    """Anything that cuts windows: `len()` of them, gathered by number."""

    def __len__(self) -> int: ...

    def gather(self, idx: NDArray[np.int64]) -> Batch:
        """Return `(values, mask)`, float32 [n, L, F] each; mask 1 where observed, else 0."""
        ...


@dataclass(frozen=True)
class ArrayWindows:
    """Windows of one length cut from one run of rows, which may live in a memory-mapped file.

    Args:
        values: float32 [R, F], scaled features.
        mask: [R, F], true or 1 where the cell was observed.
        starts: int64 [N], row of each window's first step; `starts + length` stays within R.
        length: Steps in a window, L.

    Example:
        >>> rows = np.arange(12, dtype=np.float32).reshape(6, 2)
        >>> windows = ArrayWindows(rows, np.ones_like(rows), np.array([0, 2]), length=4)
        >>> windows.gather(np.array([1]))[0].shape
        (1, 4, 2)
    """

    values: NDArray[np.float32]
    mask: NDArray[np.generic]
    starts: NDArray[np.int64]
    length: int

    def __len__(self) -> int:
        return len(self.starts)

    def gather(self, idx: NDArray[np.int64]) -> Batch:
        """Return `(values, mask)`, float32 [n, L, F] each."""
        rows = self.starts[idx][:, None] + np.arange(self.length)
        return np.asarray(self.values[rows], np.float32), np.asarray(self.mask[rows], np.float32)


def hide_latest(mask: NDArray[np.float32], rows: int) -> NDArray[np.float32]:
    """Return a mask [n, L, F] under which a model has to foresee the last `rows` rows of each window."""
    if not rows:
        return mask
    hidden = mask.copy()
    hidden[:, -rows:] = 0
    return hidden


def clean(values: NDArray[np.float32], mask: NDArray[np.float32]) -> Batch:
    """Return windows in which all that was not observed, or is not finite, is 0 under mask 0."""
    seen = (mask > 0) & np.isfinite(values)
    return np.where(seen, values, np.float32(0)), seen.astype(np.float32)
