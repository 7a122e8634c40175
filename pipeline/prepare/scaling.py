"""Robust scaling: median to 0, usual spread to 1, learned from training data alone.

In: values [N, C] with NaN for missing. Out: `Scaling` with a finite centre and a scale above zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from pipeline.errors import BundleError
from pipeline.prepare.series import Floats, Ints

NORMAL_IQR = 1.349
"""Interquartile range of a normal distribution with spread 1."""
WIDE = 8.0
"""The middle 98 % of training data spans at most this many scales, so that none of it is clipped."""
RARE = 4.0
"""A move of the usual size, of a channel that moves at all, is at most this many scales."""
CONSTANT = 0.1
"""Scale of a channel that never moved, as a share of its value."""
TINY = 1e-140
"""Less is nothing: dividing by it could overflow."""


@dataclass(frozen=True)
class Scaling:
    """`(x - center) / scale` for each of C columns."""

    center: Floats
    scale: Floats

    def apply(self, values: Floats) -> Floats:
        """Scale values [N, C]; NaN stays NaN."""
        with np.errstate(over="ignore"):
            return np.asarray((values - self.center) / self.scale, dtype=np.float64)

    def invert(self, scaled: Floats) -> Floats:
        """Return scaled values [N, C] to their own units."""
        return np.asarray(scaled * self.scale + self.center, dtype=np.float64)

    def to_dict(self) -> dict[str, list[float]]:
        """Return plain lists, exact when read back."""
        return {"center": self.center.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any], width: int) -> Self:
        """Read `to_dict`'s lists back; BundleError unless they are `width` finite usable numbers."""
        try:
            center, scale = (np.asarray(saved[k], dtype=np.float64) for k in ("center", "scale"))
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError("the scaling in the bundle is damaged") from error
        if center.shape != (width,) or scale.shape != (width,):
            raise BundleError(f"the scaling in the bundle is not for {width} columns")
        if not (np.isfinite(center).all() and np.isfinite(scale).all() and (scale > 0).all()):
            raise BundleError("the scaling in the bundle has unusable numbers")
        return cls(center, scale)


def fit_pooled(values: Floats) -> Scaling:
    """Learn from all rows [N, C]; a channel that never moved falls back as `_constant` says."""
    center, scale, count = _learn(values)
    moving = scale > 0
    typical = float(np.median(scale[moving])) if moving.any() else 1.0
    constant = np.where(np.abs(center) > TINY, np.abs(center) * CONSTANT, typical)
    return Scaling(center, np.where(moving, scale, np.where(count > 0, constant, 1.0)))


def fit_own(values: Floats, pooled: Scaling, least: int) -> Scaling:
    """Learn one entity's scaling from its rows [N, C].

    A channel with fewer than `least` values takes the pooled scaling; one that never moved here, the
    pooled scale around its own value.
    """
    center, scale, count = _learn(values)
    enough = count >= least
    return Scaling(
        np.where(enough, center, pooled.center), np.where(enough & (scale > 0), scale, pooled.scale)
    )


def _learn(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Return median, spread (0 where a column never moved) and count of each column.

    The spread is the largest of three robust ones, so that noise, bursts and rare steps, in which one or
    two of them are 0, all get a scale that fits: interquartile range, middle 98 %, usual move.
    """
    low, first, center, third, high = quantiles(values, 0.01, 0.25, 0.5, 0.75, 0.99)
    move = np.abs(values - center)
    move[~(move > np.maximum(1e-9 * np.abs(center), TINY))] = np.nan  # less is rounding
    (usual,) = quantiles(move, 0.5)
    scale = np.maximum.reduce([(third - first) / NORMAL_IQR, (high - low) / WIDE, usual / RARE])
    count = (~np.isnan(values)).sum(axis=0).astype(np.float64)
    return center, np.where(usual > 0, scale, 0.0), count


def quantiles(values: Floats, *shares: float) -> list[Floats]:
    """Return quantiles of each column of [N, C] as `numpy.nanquantile` does, 0 for an empty column."""
    if not len(values):
        return [np.zeros(values.shape[1]) for _ in shares]
    ordered = np.sort(values, axis=0)  # NaN last
    last = np.maximum((~np.isnan(values)).sum(axis=0) - 1, 0)
    return [_interpolated(ordered, share * last, last) for share in shares]


def _interpolated(ordered: Floats, at: Floats, last: Ints) -> Floats:
    below = np.floor(at).astype(np.int64)
    columns = np.arange(ordered.shape[1])
    lower, upper = ordered[below, columns], ordered[np.minimum(below + 1, last), columns]
    return np.nan_to_num(lower + (upper - lower) * (at - below), nan=0.0)
