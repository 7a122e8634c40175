"""Windows: what the model sees at once, cut from many series without a loop.

In: series. Out: an index of window ends, and batches gathered from it, left-padded with mask 0 where a
series has fewer earlier rows than a window is long. That happens only where nothing earlier exists, or
where scoring was given less than `context`.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.prepare.series import CLIP, Bools, Ints, Series, Singles

Index = npt.ArrayLike | slice
T = TypeVar("T", bound=np.generic)


class Windows:
    """An index of N windows over series; cheap to slice and sample, arrays are shared.

    Args:
        series: rows in time order, all with the same F features.
        length: rows in a window.
        stride: for sensors, ends lie on grid cells k with `k % stride == stride - 1`, counted from the
            epoch, so that slices have the same windows as the whole.
        step_us: the grid step; None (transactions) makes every row an end.
        fresh: last rows of which at least one must have something observed; `stride` by default. Give
            `delay + 1` so that a row before a gap is judged by as many windows as any other.
        since: only windows that end at or after it (microseconds UTC).
        reach_us: rows further before the end than this are masked too (`Preparer.window_reach`).
    """

    series_index: npt.NDArray[np.int32]
    """Which series each window is of [N]."""
    end: Ints
    """Row, in its series, of each window's last step [N]."""

    def __init__(
        self,
        series: Sequence[Series],
        length: int,
        stride: int,
        *,
        step_us: int | None,
        fresh: int | None = None,
        since: int | None = None,
        reach_us: int | None = None,
    ) -> None:
        self.length, self._reach = length, reach_us
        sizes = np.array([len(s) for s in series], dtype=np.int64)
        begins = np.cumsum(sizes) - sizes
        self._time = _joined([s.time for s in series], np.zeros(1, np.int64))
        width = series[0].values.shape[1] if len(series) else 0
        values = _joined([s.values for s in series], np.zeros((1, width), np.float32))
        self._values = np.clip(values, -CLIP, CLIP)
        self._mask = _joined([s.mask for s in series], np.zeros((1, width), np.bool_))
        self._padding = len(self._time) - 1
        owner = np.repeat(np.arange(len(series), dtype=np.int32), sizes)
        begin = begins[owner]
        chosen = self._recent(begin, stride if fresh is None else fresh)
        if step_us is not None:
            chosen &= (self._time[:-1] // step_us) % stride == stride - 1
        if since is not None:
            chosen &= self._time[:-1] >= since
        self._row = np.flatnonzero(chosen)
        self._begin = begin[self._row]
        self.series_index, self.end = owner[self._row], self._row - self._begin

    def __len__(self) -> int:
        return len(self._row)

    @property
    def features(self) -> int:
        """Number of features F."""
        return int(self._values.shape[1])

    @property
    def end_time(self) -> Ints:
        """Time of each window's last step, microseconds UTC [N]."""
        return self._time[self._row]

    def gather(self, idx: Index) -> tuple[Singles, Singles]:
        """Return values, held to ±CLIP, and mask (0 or 1), both float32 [n, length, F], of the windows."""
        chosen = idx if isinstance(idx, slice) else np.asarray(idx, dtype=np.int64)
        row, begin = self._row[chosen], self._begin[chosen]
        rows = row[:, None] + np.arange(1 - self.length, 1)
        outside = rows < begin[:, None]
        rows[outside] = self._padding
        if self._reach is not None:
            rows[self._time[rows] < self._time[row][:, None] - self._reach] = self._padding
        return self._values[rows], self._mask[rows].astype(np.float32)

    def subset(self, idx: Index) -> Windows:
        """Return the windows at `idx` alone."""
        chosen = idx if isinstance(idx, slice) else np.asarray(idx)
        part = copy(self)
        part._row, part._begin = self._row[chosen], self._begin[chosen]
        part.series_index, part.end = self.series_index[chosen], self.end[chosen]
        return part

    def plus(self, other: Windows) -> Windows:
        """Return these windows and then others that were cut from the same series; some may come twice."""
        both = copy(self)
        both._row = np.concatenate([self._row, other._row])
        both._begin = np.concatenate([self._begin, other._begin])
        both.series_index = np.concatenate([self.series_index, other.series_index])
        both.end = np.concatenate([self.end, other.end])
        return both

    def sample(self, most: int, seed: int) -> Windows:
        """Return at most `most` windows, spread evenly over series and time; the same for one seed."""
        if len(self) <= most:
            return self
        shift = np.random.default_rng(seed).random()
        return self.subset(((np.arange(most) + shift) * (len(self) / most)).astype(np.int64))

    def _recent(self, begin: Ints, fresh: int) -> Bools:
        """Tell of each row whether anything was observed in the `fresh` rows that end with it."""
        row = np.arange(len(begin))
        newest = np.maximum.accumulate(np.where(self._mask[:-1].any(axis=1), row, -1))
        return np.asarray(newest >= np.maximum(begin, row - fresh + 1), dtype=np.bool_)


def _joined(parts: list[npt.NDArray[T]], padding: npt.NDArray[T]) -> npt.NDArray[T]:
    return np.concatenate([*parts, padding])
