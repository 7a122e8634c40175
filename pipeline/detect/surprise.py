"""How surprising a quantity is, in nats: minus the log of how often normal data goes so far.

In: values of held-out data, high is odd. Out: `Surprise`, a frozen curve from value to nats, the same for
cents and for euros. The body is counted; beyond it a generalised Pareto tail is fitted to all but the
highest, which may be what is looked for: a few frauds in the history do not make themselves usual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.detect.tail import Tail, fit_tail
from pipeline.errors import BundleError

Floats = NDArray[np.float64]

MOST = 30.0
"""Nats that the curve reaches; further out they grow by the logarithm of the value."""
BODY, CENSORED = 0.9, 0.995
"""The tail begins above nine tenths; the highest two hundredth count only as being high."""
LEAST_CENSORED, CAUTIOUS = 0.95, (0.8, 0.95)
"""Where more than that may be frauds, the tail begins and ends earlier."""
MANY = 4.0
LEAST_PEAKS = 20
MOST_PEAKS = 1000
HEAVY = 0.25
"""Shape above which a tail is looked at by the logarithm of its excesses."""
MOST_LOG = 300.0
KNOTS = 64
EXTREME = 5.0
"""Nats from which a row can be an outlier."""
DOUBT = 1.0
"""Nats by which more must have come than should: counts vary, and so do bodies."""
UNHEARD = 3.0
"""Nats beyond the furthest that as many normal rows reach."""


@dataclass(frozen=True)
class Surprise:
    """A curve from value to nats: linear between knots [K], logarithmic beyond the last; never falls."""

    value: Floats
    nats: Floats

    def __call__(self, values: NDArray[np.floating[Any]]) -> Floats:
        """Return nats, at least 0; 0 for NaN."""
        known = np.where(np.isnan(values), self.value[0], values).astype(np.float64)
        inside = np.interp(known, self.value, self.nats)
        span = max(float(self.value[-1] - self.value[0]), np.finfo(np.float64).tiny)
        beyond = np.log1p(np.minimum(np.maximum(known - self.value[-1], 0) / span, 1e30))
        return np.where(np.isnan(values), 0.0, inside + beyond)

    def to_dict(self) -> dict[str, list[float]]:
        """Return plain lists, exact when read back."""
        return {"value": self.value.tolist(), "nats": self.nats.tolist()}

    @classmethod
    def from_dict(cls, saved: Any) -> Self:
        """Read `to_dict` back; BundleError when it is damaged."""
        if not isinstance(saved, Mapping):
            raise BundleError("a curve of surprise in the bundle is damaged")
        try:
            value, nats = (np.asarray(saved[k], np.float64) for k in ("value", "nats"))
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError("a curve of surprise in the bundle is damaged") from error
        if value.ndim != 1 or value.shape != nats.shape or not 1 <= len(value) <= 4 * KNOTS:
            raise BundleError("a curve of surprise in the bundle has no such shape")
        if not (np.isfinite(value).all() and np.isfinite(nats).all()) or (nats < 0).any():
            raise BundleError("a curve of surprise in the bundle has unusable numbers")
        if (np.diff(value) <= 0).any() or (np.diff(nats) < 0).any():
            raise BundleError("a curve of surprise in the bundle falls")
        return cls(value, nats)


def fit_surprise(values: NDArray[np.floating[Any]]) -> Surprise:
    """Learn from values [N], NaN where there is none; of nothing, nothing is surprising.

    First a look at how much lies far beyond where the upper fifth of the body leads; then the fit, which
    leaves out half as much again, and no less than CENSORED does.
    """
    known = np.sort(np.asarray(values, np.float64)[~np.isnan(values)])
    if len(known) < 2 or known[0] == known[-1]:
        first = float(known[0]) if len(known) else 0.0
        return Surprise(np.array([first]), np.zeros(1))
    censored = min(CENSORED, 1 - 1.5 * _far_out(known))
    return _fit(known, BODY, censored) if censored > LEAST_CENSORED else _fit(known, *CAUTIOUS, heavy=MOST)


def _fit(known: Floats, body: float, censored: float, heavy: float = HEAVY) -> Surprise:
    start = min(body, max(0.5, 1 - LEAST_PEAKS / len(known)))
    level = float(np.quantile(known, start))
    body_nats = np.linspace(0, -np.log1p(-start), KNOTS // 2, endpoint=False)
    inner = np.quantile(known, -np.expm1(-body_nats))
    at_level = -np.log(max(float(np.mean(known > level)), 1 / len(known)))
    reach, nats = _tail(known, level, censored, heavy)
    return _curve(np.concatenate([inner, level + reach]), np.concatenate([body_nats, at_level + nats]))


def _far_out(known: Floats) -> float:
    """Return the share of rows beyond where four times as many lie as an exponential tail would have."""
    eight, nine = np.quantile(known, [0.8, BODY])
    levels = np.arange(EXTREME, MOST, 0.25)
    place = nine + (nine - eight) * (levels + np.log1p(-BODY)) / np.log(2)
    came = len(known) - np.searchsorted(known, place, side="right")
    should = len(known) * np.exp(-levels)
    many = (came >= LEAST_PEAKS / 2) & (came > MANY * should)
    return float(np.max(np.where(many, came - should, 0.0))) / len(known)


def outlying(curve: Surprise, values: NDArray[np.floating[Any]]) -> Surprise:
    """Return how far a surprise is one of an outlier, in nats: log of how many came over how many should.

    A quantity that errs for harmless reasons goes as far as its own body says: such surprises are worth
    nothing. They are where more rows lie far out than should, or a row lies further out than any could.

    Args:
        curve: of the quantity.
        values: that it was learned from [N].
    """
    nats = np.sort(curve(np.asarray(values)[~np.isnan(values)]))
    rows = max(len(nats), 1)
    came = rows - np.searchsorted(nats, curve.nats) if len(nats) else np.zeros(len(curve.nats))
    more = np.log((came + 0.5) / (rows * np.exp(-curve.nats) + 0.5))
    further = curve.nats - np.log(rows) - UNHEARD
    found = np.where(curve.nats < EXTREME, 0.0, np.maximum(more - DOUBT, further))
    return Surprise(curve.value, np.maximum.accumulate(np.maximum(found, 0.0)))


def _tail(known: Floats, level: float, censored: float, heavy: float) -> tuple[Floats, Floats]:
    """Return excesses over `level`, from 0 up, and how many nats each is beyond it."""
    excess = known[known > level] - level
    if len(excess) < LEAST_PEAKS // 2:
        return np.zeros(1), np.zeros(1)
    censor = max(float(np.quantile(known, censored)) - level, float(np.median(excess)))
    chosen = excess[np.linspace(0, len(excess) - 1, min(MOST_PEAKS, len(excess))).astype(np.int64)]
    nats = np.linspace(0, MOST, KNOTS)
    tail = fit_tail(chosen, censor=censor)
    if tail.shape <= heavy:
        return _reach(tail, nats), nats
    scale = float(np.median(chosen))
    tail = fit_tail(scale * np.log1p(chosen / scale), censor=scale * np.log1p(censor / scale))
    return scale * np.expm1(np.minimum(_reach(tail, nats) / scale, MOST_LOG)), nats


def _reach(tail: Tail, nats: Floats) -> Floats:
    return np.array([tail.level(probability) for probability in np.exp(-nats)])


def _curve(value: Floats, nats: Floats) -> Surprise:
    """Keep of equal values the least surprising: what half of all rows have is no surprise."""
    value, first = np.unique(np.minimum(value, 1e300), return_index=True)
    return Surprise(value, np.maximum.accumulate(nats[first]))
