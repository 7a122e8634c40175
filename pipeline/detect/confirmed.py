"""What confirmed frauds looked like: a logistic regression on surprise and what was known of both sides.

In: columns of evidence, and labels that were known when training ran. Out: `Confirmed`, log odds per row.
Each column comes with hinges, so that "twice as odd" need not mean "twice as likely"; the fit is a penalised
maximum likelihood (a Gaussian prior, Newton's method), and the prior believes the unlabelled score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import BundleError

Floats = NDArray[np.float64]

LEAST_FRAUDS = 5
LEAST_HONEST = 50
MOST_HONEST = 50_000
"""Honest rows that are learned from at most; only the intercept, which is not used, feels it."""
PENALTY = 1.0
BELIEF = 0.5
"""Log odds for one nat of the unlabelled score, where labels say nothing else."""
STEPS = 60
MOST_ODDS = 60.0


@dataclass(frozen=True)
class Confirmed:
    """Log odds over those of an average row: `weights · (hinges - center)`."""

    knots: tuple[tuple[float, ...], ...]
    """Of each column."""
    center: Floats
    weights: Floats

    def __call__(self, columns: Floats) -> Floats:
        """Return log odds [N] of columns [N, D], over those of an average row."""
        total = np.zeros(len(columns))
        for value, center, weight in zip(
            _hinges(columns, self.knots), self.center, self.weights, strict=True
        ):
            total += weight * (value - center)  # column by column: the same in every slice
        return np.asarray(np.clip(total, -MOST_ODDS, MOST_ODDS), np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold, exact when read back."""
        return {
            "knots": [list(k) for k in self.knots],
            "center": self.center.tolist(),
            "weights": self.weights.tolist(),
        }

    @classmethod
    def from_dict(cls, saved: Any, columns: int) -> Self:
        """Read `to_dict` back; BundleError when it is damaged or not for so many columns."""
        if not isinstance(saved, Mapping):
            raise BundleError("what confirmed frauds looked like is damaged in the bundle")
        try:
            knots = tuple(tuple(float(k) for k in one) for one in saved["knots"])
            center, weights = (np.asarray(saved[k], np.float64) for k in ("center", "weights"))
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError("what confirmed frauds looked like is damaged in the bundle") from error
        wide = (sum(1 + len(one) for one in knots),)
        flat = [*center.ravel(), *weights.ravel(), *(k for one in knots for k in one)]
        if len(knots) != columns or center.shape != wide or weights.shape != wide:
            raise BundleError("what confirmed frauds looked like is of another shape than the evidence")
        if not np.isfinite(flat).all():
            raise BundleError("what confirmed frauds looked like has unusable numbers")
        return cls(knots, center, weights)


def fit_confirmed(
    columns: Floats, fraud: NDArray[np.bool_], knots: Sequence[tuple[float, ...]]
) -> Confirmed | None:
    """Learn from rows whose labels are known; None where too few are of either kind.

    Args:
        columns: evidence [N, D]; the first is the unlabelled score in nats.
        fraud: [N].
        knots: for each column, where its slope may change.
    """
    if fraud.sum() < LEAST_FRAUDS or (~fraud).sum() < LEAST_HONEST:
        return None
    honest = np.flatnonzero(~fraud)
    chosen = honest[np.linspace(0, len(honest) - 1, min(MOST_HONEST, len(honest))).astype(np.int64)]
    rows = np.sort(np.concatenate([np.flatnonzero(fraud), chosen]))
    inputs = np.column_stack(list(_hinges(columns[rows], knots)))
    center, scale = inputs.mean(axis=0), inputs.std(axis=0)
    useful = scale > 1e-9
    prior = np.zeros(inputs.shape[1])
    prior[0] = BELIEF
    scaled = (inputs[:, useful] - center[useful]) / scale[useful]
    found = _newton(scaled, fraud[rows].astype(np.float64), (prior * scale)[useful])
    weights = np.zeros(inputs.shape[1])
    weights[useful] = found / scale[useful]
    return Confirmed(tuple(knots), center, weights)


def _hinges(columns: Floats, knots: Sequence[tuple[float, ...]]) -> list[Floats]:
    return [
        np.maximum(columns[:, d] - knot, 0) if knot is not None else columns[:, d]
        for d, places in enumerate(knots)
        for knot in (None, *places)
    ]


def _newton(inputs: Floats, fraud: Floats, prior: Floats) -> Floats:
    """Return the weights of least penalised loss, by damped Newton steps; the intercept is left out."""
    design = np.column_stack([inputs, np.ones(len(inputs))])
    centre, penalty = np.append(prior, 0.0), np.append(np.full(len(prior), PENALTY), 1e-6)
    share = float(fraud.mean())
    weights = np.append(prior, np.log(share / (1 - share)))
    loss = _loss(design, fraud, weights, centre, penalty)
    for _ in range(STEPS):
        odds = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        slope = design.T @ (odds - fraud) + penalty * (weights - centre)
        bend = (design * (odds * (1 - odds))[:, None]).T @ design + np.diag(penalty)
        step, size = np.linalg.solve(bend, slope), 1.0
        while (new := _loss(design, fraud, weights - size * step, centre, penalty)) > loss and size > 1e-6:
            size /= 2
        if not loss - new > 1e-6 * abs(loss):
            break
        weights, loss = weights - size * step, new
    return np.asarray(weights[:-1], np.float64)


def _loss(design: Floats, fraud: Floats, weights: Floats, centre: Floats, penalty: Floats) -> float:
    odds = design @ weights
    return float(
        np.logaddexp(0, odds).sum() - fraud @ odds + 0.5 * (penalty * np.square(weights - centre)).sum()
    )
