"""How the surprises of one payment become one number: the pure functions behind `PaymentDetector`.

In: nats by quantity [T]. Out: nats by channel [T, C], what the last payments add, the joint score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ORDINARY = 5.0
"""Nats up to which an amount is in the ordinary: one payment in 150 goes further."""
MOST_PACE = 4.0
"""Nats that pace tells at most: one payment in 50 is as hasty, and most of these are honest."""
AGAINST_PACE = 4.5
"""Nats by which an amount has to be odder than a pace to count as much."""
ROWS = 16
"""Earlier payments that are remembered, at most."""
MEMORY = timedelta(days=15)
"""How long they are."""
MISUSED = 0.3
"""Share of its payments that are frauds while an account is taken over: its owner goes on paying."""
EVEN = 4.0
"""Nats at which an amount speaks for a fraud as much as against."""
MOST_STEP = 10.0
"""Nats that one payment can speak for a takeover: the wildest amount may be an honest one."""
MOST_MEMORY = 7.5
"""Nats that all together add: who is known to be taken over may pay honestly still."""
AMOUNT, PACE, HOUR, CATEGORIES = 0, 1, 2, 3
"""Indices of channels, and of the first categorical one."""
_MEMORY_US = MEMORY // timedelta(microseconds=1)


def hasty(nats: Floats, same: Floats) -> Floats:
    """Return what a pace tells [T]: none of it, as far as the entity pays the same amount again and again.

    Args:
        nats: surprise of the pace [T].
        same: share of the history that was exactly as much [T].
    """
    return np.minimum(nats, MOST_PACE) * (1 - same)


def of_channels(
    nats: Mapping[str, Floats], outlying: Mapping[str, Floats], channels: int, fields: Sequence[str]
) -> Floats:
    """Return what each channel tells [T, channels], in nats.

    The amount's is the higher of two surprises: against the entity, and against all. The other channels tell
    as much as makes a row an outlier there; pace at least what `hasty` says.

    Args:
        nats: `own` and `all` of the amount, and `pace` from `hasty` [T].
        outlying: `error <c>` of the model in channel c from 1, `others <field>` of each categorical field.
        channels: amount, pace, time of day, and the categorical fields.
        fields: their names.
    """
    amount = np.maximum(nats["own"], nats["all"])
    found = [amount, *(outlying[f"error {c}"] for c in range(1, channels))]
    found[PACE] = np.maximum(found[PACE], nats["pace"])
    for k, field in enumerate(fields, CATEGORIES):
        found[k] = np.maximum(found[k], outlying[f"others {field}"])
    return np.stack(found, axis=1)


def together(nats: Mapping[str, Floats], outlying: Mapping[str, Floats], memory: Floats | float) -> Floats:
    """Return the joint score [T] from what `of_channels` takes; it never falls when a surprise grows.

    A payment is suspect for its pace, or for its amount and what came before it: one reason is enough, so
    likelihoods are added, not their logs. What an amount is beyond the ordinary counts double, against the
    entity and against all, or another channel if that is more of an outlier. What no pace reaches is halved
    again: its tail is then one that a threshold can be read from.

    Args:
        nats: `own`, `all`, and `pace` from `hasty` [T].
        outlying: of the other channels [T].
        memory: from `remembered`.
    """
    own, of_all = nats["own"], nats["all"]
    far = 2 * (np.maximum(own - ORDINARY, 0) + np.maximum(of_all - ORDINARY, 0))
    amount = np.minimum(np.maximum(own, of_all), ORDINARY) + np.maximum.reduce([far, *outlying.values()])
    score = np.logaddexp(nats["pace"], amount + memory - AGAINST_PACE)
    return np.asarray(np.minimum(score, MOST_PACE) + np.maximum(score - MOST_PACE, 0) / 2, np.float64)


def remembered(own: Floats, entity: NDArray[np.int64], time: NDArray[np.int64]) -> Floats:
    """Return what the entity's last payments add to each row's score, in nats [T].

    An account that was taken over is misused more than once. It may have been so since any of the last ROWS
    payments, no older than MEMORY: their likelihood ratios are multiplied from there on, and added up over
    all beginnings (the statistic of Shiryaev and Roberts). Rows are in order of entity and time.

    Args:
        own: surprise of each amount against the entity [T].
        entity: codes [T].
        time: microseconds UTC [T].
    """
    step = np.log(1 - MISUSED + MISUSED * np.exp(np.minimum(own - EVEN, MOST_STEP)))
    since, total = np.zeros(len(own)), np.ones(len(own))
    for back in range(1, min(ROWS, len(own) - 1) + 1):
        near = (entity[back:] == entity[:-back]) & (time[back:] - time[:-back] <= _MEMORY_US)
        since[back:] += np.where(near, step[:-back], 0.0)
        total[back:] += np.where(near, np.exp(since[back:]), 0.0)
    return np.asarray(-np.logaddexp(-np.log(total), -MOST_MEMORY), np.float64)
