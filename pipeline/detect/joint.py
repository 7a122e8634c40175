"""How the surprises of one payment become one number: the pure functions behind `PaymentDetector`.

In: nats by quantity [T]. Out: nats by channel [T, C], the joint score, what the last payments add to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ORDINARY = 5.0
"""Nats up to which a payment is in the ordinary: one in 150 goes further."""
PACE_WEIGHT = 2 / 3
"""Of pace, in the ordinary: there it tells more than the amount does."""
ROWS = 16
"""Earlier payments that are remembered, at most."""
MEMORY = timedelta(days=15)
"""How long they are."""
REMEMBERED = 6.0
"""Nats above which a payment is remembered."""
AMOUNT, PACE, CATEGORIES = 0, 1, 3
"""Indices of channels, and of the first categorical one."""
_MEMORY_US = MEMORY // timedelta(microseconds=1)


def of_channels(
    nats: Mapping[str, Floats], outlying: Mapping[str, Floats], channels: int, fields: Sequence[str]
) -> Floats:
    """Return what each channel tells [T, channels], in nats.

    The amount's is the higher of two surprises: against the entity, and against all. The other channels tell
    as much as makes a row an outlier there; pace at least how much of the history is recent, within ORDINARY.

    Args:
        nats: `own` and `all` of the amount, `recent` of pace [T].
        outlying: `error <c>` of the model in channel c from 1, `others <field>` of each categorical field.
        channels: amount, pace, time of day, and the categorical fields.
        fields: their names.
    """
    amount = np.maximum(nats["own"], nats["all"])
    found = [amount, *(outlying[f"error {c}"] for c in range(1, channels))]
    found[PACE] = np.maximum(found[PACE], np.minimum(nats["recent"], ORDINARY))
    for k, field in enumerate(fields, CATEGORIES):
        found[k] = np.maximum(found[k], outlying[f"others {field}"])
    return np.stack(found, axis=1)


def together(nats: Mapping[str, Floats], outlying: Mapping[str, Floats]) -> Floats:
    """Return the joint score [T] from what `of_channels` takes.

    In the ordinary a payment is ranked by its pace more than by its amount. Beyond it the amount counts
    double, or another channel if that is more of an outlier. It never falls when a surprise grows.
    """
    amount = np.maximum(nats["own"], nats["all"])
    pace = PACE_WEIGHT * np.minimum(nats["recent"], ORDINARY)
    usual = pace + (1 - PACE_WEIGHT) * np.minimum(amount, ORDINARY)
    beyond = np.maximum.reduce([2 * np.maximum(amount - ORDINARY, 0), *outlying.values()])
    return np.asarray(usual + beyond, np.float64)


def remembered(score: Floats, entity: NDArray[np.int64], time: NDArray[np.int64]) -> Floats:
    """Return what the entity's last payments add to each row's score [T].

    An account that was taken over is misused more than once: the log of one, and of how far the scores of
    the last ROWS payments, no older than MEMORY, lie beyond REMEMBERED. Rows are in order of entity and time.
    """
    beyond, total = np.maximum(score - REMEMBERED, 0), np.zeros(len(score))
    for back in range(1, min(ROWS, len(score) - 1) + 1):
        near = (entity[back:] == entity[:-back]) & (time[back:] - time[:-back] <= _MEMORY_US)
        total[back:] += np.where(near, beyond[:-back], 0.0)
    return np.log1p(total)
