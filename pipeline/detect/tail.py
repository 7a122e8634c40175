"""How far the tail of held-out peaks reaches, also beyond what was seen.

In: excesses of cluster peaks over a level. Out: `Tail`, whose `level` inverts a probability. It is a
generalised Pareto whose scale and shape are averaged over (a posterior on a grid: flat in log scale, a
mild prior on shape) rather than picked. With few peaks the picked tail promises fewer false alarms than
come; the predictive one does not (Coles, "An Introduction to Statistical Modeling of Extreme Values", 9.1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHAPE_LIMIT = 0.5
SHAPE_PRIOR = (0.15, 0.15)  # mean and deviation: error tails are a little heavier than exponential

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tail:
    """Excesses of peaks over a level: candidate scales and shapes, each with its weight [G]."""

    scales: Floats
    shapes: Floats
    weights: Floats

    @property
    def scale(self) -> float:
        """The mean scale, in units of the scores."""
        return float(self.weights @ self.scales)

    @property
    def shape(self) -> float:
        """The mean shape: 0 is exponential, more is heavier."""
        return float(self.weights @ self.shapes)

    def survival(self, excess: float) -> float:
        """Return the probability that a peak exceeds the level by more than `excess`."""
        return float(self.weights @ np.exp(_log_survival(excess, self.scales, self.shapes)))

    def level(self, probability: float) -> float:
        """Return the excess that a peak passes with `probability`: the inverse of `survival`."""
        if probability >= 1:
            return 0.0
        low, high = 0.0, float(np.max(self.scales))
        while self.survival(high) > probability:
            high *= 2
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if self.survival(middle) > probability else (low, middle)
        return high


def fit_tail(excess: Floats, censor: float = np.inf) -> Tail:
    """Fit peaks' excesses (> 0) over a level; those above `censor` count only as being above it."""
    middle = float(np.median(excess)) / np.log(2)
    candidates = middle * np.exp(np.linspace(-2.5, 2.5, 101))
    shapes = np.linspace(-SHAPE_LIMIT, SHAPE_LIMIT, 42)  # an even number, so that none is 0
    scale, shape = (grid.ravel() for grid in np.meshgrid(candidates, shapes))
    prior = -0.5 * ((shape - SHAPE_PRIOR[0]) / SHAPE_PRIOR[1]) ** 2
    fit = prior + _log_likelihood(excess, censor, scale, shape)
    weight = np.exp(fit - fit.max())
    keep = weight > 1e-12
    return Tail(scale[keep], shape[keep], weight[keep] / weight[keep].sum())


def _log_likelihood(excess: Floats, censor: float, scale: Floats, shape: Floats) -> Floats:
    seen = excess[excess <= censor]
    above = excess.size - seen.size
    out = -np.log(scale) * seen.size
    if above:
        out += above * _log_survival(censor, scale, shape)
    for value in seen:  # log density = (1 + shape) log survival - log scale
        out += (1 + shape) * _log_survival(float(value), scale, shape)
    return np.asarray(out)


def _log_survival(excess: float, scale: Floats, shape: Floats) -> Floats:
    inside = 1 + shape * excess / scale
    return np.where(inside > 0, -np.log(np.maximum(inside, 1e-300)) / shape, -np.inf)
