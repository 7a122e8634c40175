"""Errors of many channels become one number per row: the pure functions behind `Detector`.

In: errors per row and channel. Out: each error in units of its channel's usual one, the joint score,
its causal smoothing, and each channel's share. Every row depends on itself and the few rows before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCALE_FLOOR = 0.01  # scaled units: below a hundredth of a channel's usual spread, an error is dust
RELATIVE_FLOOR = 0.05  # of the median channel's scale
BLOCK = 65536  # rows worked on at a time, so that memory is bounded
UNIT_CAP = 1e6  # a joint score stays far inside float32

Floats = NDArray[np.floating[Any]]


def roots(errors: Floats) -> NDArray[np.float32]:
    """Return the square root of each squared error; infinite ones are capped, NaN stays.

    The root before the mean keeps one loud channel from drowning the rest.
    """
    with np.errstate(invalid="ignore"):
        capped = np.clip(np.asarray(errors, np.float32), 0, np.float32(UNIT_CAP**2))
    return np.asarray(np.sqrt(capped))


def root_blocks(errors: Floats) -> Iterator[NDArray[np.float32]]:
    """Yield the roots of `errors` in blocks of rows, in order."""
    for start in range(0, len(errors), BLOCK):
        yield roots(errors[start : start + BLOCK])


def channel_scales(blocks: Iterable[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Learn each channel's usual error: its mean root error on held-out normal rows, floored.

    The floors keep a channel that hardly ever errs (a constant) from flagging on rounding.
    A channel never observed gets the median scale.

    Args:
        blocks: root errors [rows, C].
    """
    total, count = np.zeros(1), np.zeros(1)
    for block in blocks:
        total = total + np.nansum(block, axis=0, dtype=np.float64)
        count = count + np.sum(~np.isnan(block), axis=0)
    scale = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    middle = float(np.nanmedian(scale)) if np.any(count > 0) else 1.0
    floor = max(SCALE_FLOOR, RELATIVE_FLOOR * middle)
    return np.maximum(np.where(np.isnan(scale), middle, scale), floor)


def parts(units: NDArray[np.float32], top: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each row's mean over its observed channels, and the mean of its `top` largest [T], [T]."""
    seen = ~np.isnan(units)
    count = seen.sum(axis=1)
    filled = np.where(seen, units, 0)
    mean = filled.sum(axis=1, dtype=np.float64) / np.maximum(count, 1)
    k = min(top, units.shape[1])
    largest = np.partition(filled, -k, axis=1)[:, -k:] if k < units.shape[1] else filled
    peak = np.sort(largest, axis=1).sum(axis=1, dtype=np.float64) / np.clip(count, 1, k)
    empty = count == 0
    return np.where(empty, np.nan, mean), np.where(empty, np.nan, peak)


def smooth(series: NDArray[np.float64], span: int, support: float = 0.0) -> NDArray[np.float64]:
    """Average each row with the few before it, weights falling exponentially; NaN rows stay NaN.

    The kernel ends after `kernel(span)` rows, so a row does not depend on where its slice began.
    Missing rows are left out of the average; a row that has less than `support` (0 to 1) of the kernel's
    weight behind it gets none.
    """
    if span <= 1:
        return series
    weights = kernel(span)
    seen = ~np.isnan(series)
    filled = np.where(seen, series, 0.0)
    total, weight = np.zeros(len(series)), np.zeros(len(series))
    for back, w in enumerate(weights[: len(series)]):
        total[back:] += w * filled[: len(series) - back]
        weight[back:] += w * seen[: len(series) - back]
    known = seen & (weight >= support * weights.sum())
    return np.where(known, total / np.where(known, weight, 1), np.nan)


def kernel(span: int) -> NDArray[np.float64]:
    """Return the smoothing weights, newest row first: those of an EWMA, cut off at 3 spans."""
    if span <= 1:
        return np.ones(1)
    return np.asarray((1 - 2 / (span + 1)) ** np.arange(3 * span))


def shares(units: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each channel's share of a row's squared error [T, C]; 1 in all, NaN for a row in a gap.

    Squared, so that the channel at fault stands out among many that err as usual.
    """
    seen = ~np.isnan(units)
    power = np.square(np.where(seen, units, 0), dtype=np.float64)
    power = np.where(power.sum(axis=1, keepdims=True) > 0, power, seen)  # nothing errs: equal shares
    total = power.sum(axis=1, keepdims=True)
    return np.where(total > 0, power / np.where(total > 0, total, 1), np.nan).astype(np.float32)
