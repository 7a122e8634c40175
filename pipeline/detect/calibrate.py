"""Errors of many channels become one number per row: the pure functions behind `Detector`.

In: squared errors per view, row and channel. Out: each error in units of its channel's usual one, the joint
of a row, and each channel's share of it. Every row depends on itself alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCALE_FLOOR = 0.01  # scaled units: below a hundredth of a channel's usual spread, an error is dust
RELATIVE_FLOOR = 0.05  # of the median channel's scale
USUAL_FLOOR = 0.05  # a joint's usual value where hardly any channel ever errs
BODY = 0.95  # share of held-out rows that an average trusts; what is above is held to its edge
BLOCK = 16384  # rows worked on at a time, so that memory is bounded
ENOUGH = 50_000  # rows are enough to learn a scale from, spread evenly
UNIT_CAP = np.float32(30)  # a channel counts for at most so many times its usual error
ROOT_CAP = np.float32(1e6)

Floats = NDArray[np.floating[Any]]


def roots(errors: Floats, slack: Floats) -> NDArray[np.float32]:
    """Return the root of each squared error beyond the channel's slack; infinite ones capped, NaN stays.

    The root before the mean keeps one loud channel from drowning the rest.
    """
    with np.errstate(invalid="ignore"):
        root = np.sqrt(np.clip(np.asarray(errors, np.float32), 0, ROOT_CAP**2))
        return np.asarray(np.maximum(root - slack.astype(np.float32), np.float32(0)))


def blocks(rows: int) -> Iterator[slice]:
    """Yield slices of at most `BLOCK` rows, in order."""
    return (slice(start, start + BLOCK) for start in range(0, rows, BLOCK))


def spread_evenly(rows: int) -> NDArray[np.int64]:
    """Return at most `ENOUGH` row numbers, evenly spread."""
    return np.unique(np.linspace(0, rows - 1, min(rows, ENOUGH)).astype(np.int64))


def body_mean(values: Floats) -> float:
    """Return the mean of what is known, with the largest twentieth held to where it begins; NaN for nothing.

    Up to 5 % of anomalies among the held-out rows move it little.
    """
    known = values[~np.isnan(values)].astype(np.float64)
    return float(np.minimum(known, np.quantile(known, BODY)).mean()) if len(known) else float("nan")


def channel_scales(root: NDArray[np.float32], measured: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Learn each channel's usual error: its mean root error on held-out normal rows [N, C], floored.

    The floors keep a channel that hardly ever errs (a constant) from flagging on rounding. A channel never
    observed gets the median scale of the measured ones.
    """
    scale = np.array([body_mean(root[:, c]) for c in range(root.shape[1])])
    live = measured & (scale > 0)
    middle = float(np.median(scale[live])) if live.any() else SCALE_FLOOR
    floor = max(SCALE_FLOOR, RELATIVE_FLOOR * middle)
    return np.maximum(np.where(np.isnan(scale), middle, scale), floor)


def parts(
    units: NDArray[np.float32], top: int, counted: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each row's mean over its observed channels, and the mean of its `top` largest [T], [T].

    Args:
        units: errors [T, C] in units of their channel's usual one.
        top: how many of the largest.
        counted: channels [C] that a mean is divided by.
    """
    seen = ~np.isnan(units)
    filled = np.where(seen, units, 0)
    count = np.maximum((seen & counted).sum(axis=1), 1)
    mean = filled.sum(axis=1, dtype=np.float64) / count
    k = min(top, units.shape[1])
    largest = np.partition(filled, -k, axis=1)[:, -k:] if k < units.shape[1] else filled
    peak = np.sort(largest, axis=1).sum(axis=1, dtype=np.float64) / np.clip(count, 1, k)
    empty = ~seen.any(axis=1)
    return np.where(empty, np.nan, mean), np.where(empty, np.nan, peak)


def shares(power: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return each channel's share [T, C] of a row's squared units; 1 in all, NaN for a row in a gap.

    Squared, so that the channel at fault stands out among many that err as usual.
    """
    seen = ~np.isnan(power)
    filled = np.where(seen, power, 0.0)
    filled = np.where(filled.sum(axis=1, keepdims=True) > 0, filled, seen)  # nothing errs: equal shares
    total = filled.sum(axis=1, keepdims=True)
    return np.where(total > 0, filled / np.where(total > 0, total, 1), np.nan).astype(np.float32)
