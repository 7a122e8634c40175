"""Features of transactions, by channel: amount, pace, time of day, and each categorical field.

In: a `Ledger`, its `History`, the population's scaling and vocabularies. Out: columns, not yet scaled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.prepare.history import MOST_ROOT, SHRINK, History, log_gap, root_amount
from pipeline.prepare.ledger import Category, Ledger
from pipeline.prepare.scaling import Scaling
from pipeline.prepare.series import Bools, Floats, Ints
from pipeline.prepare.vocabulary import Vocabulary

AMOUNT, PACE, TIME_OF_DAY = 0, 1, 2
"""Indices of the first channels; categorical fields follow."""
MOST_LOG = 345.0
"""Log of the largest amount there is (see `columns.HUGE`)."""
_HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class Facet:
    """One feature column [N] and where it is known."""

    name: str
    channel: int
    values: Floats
    known: Bools
    least: float | None = None
    """Smallest scale that makes sense for it, in its own unit (a standard deviation, a log, a nat): in a
    population that hardly varies a small difference must not look huge. None where no scaling is learned,
    because it lies between -1 and 1 by nature."""


def quantities(book: Ledger, history: History) -> Floats:
    """Return root of amount and log gap [N, 2] that the population's scaling is learned from."""
    gap = np.where(history.rows > 0, log_gap(book.time), np.nan)
    return np.column_stack([root_amount(book.amount), gap])


def own(history: History, population: Scaling) -> Floats:
    """Return each row's usual amount and pace so far [N, 4]: mean and spread of the root and the log."""
    center, scale = population.center, population.scale
    usual = (history.amount, history.pace)
    pairs = [u.shrunk(float(center[i]), float(scale[i])) for i, u in enumerate(usual)]
    return np.column_stack([column for pair in pairs for column in pair])


def facets(
    book: Ledger, history: History, usual: Floats, fields: tuple[str, ...], words: tuple[Vocabulary, ...]
) -> Iterator[Facet]:
    """Yield every feature in its fixed order; `usual` is from `own`."""
    both = quantities(book, history)
    yield from _amount(both[:, 0], usual)
    yield from _pace(both[:, 1], usual, history)
    yield from _time_of_day(book.time)
    for k, (name, vocabulary) in enumerate(zip(fields, words, strict=True)):
        yield from _category(name, TIME_OF_DAY + 1 + k, book.categories[k], vocabulary, history, k)


def actual(book: Ledger, history: History, channels: int) -> Floats:
    """Return what people read [N, C]: amount, hours since the last transaction, hour of day UTC."""
    values = np.full((len(book), channels), np.nan)
    values[:, AMOUNT] = book.amount
    since = np.diff(book.time, prepend=book.time[:1]) / _HOUR_US
    values[:, PACE] = np.where(history.rows > 0, since, np.nan)
    values[:, TIME_OF_DAY] = _hour(book.time)
    return values


def readable(usual: Floats, amount: Floats, pace: Floats, sine: Floats, cosine: Floats) -> Floats:
    """Return what was expected as people read it [N, 3], from unscaled features [N] and `own`."""
    root = np.clip(amount * usual[:, 1] + usual[:, 0], -MOST_ROOT, MOST_ROOT)
    gap = np.clip(pace * usual[:, 3] + usual[:, 2], 0, MOST_LOG)
    hour = np.arctan2(sine, cosine) % (2 * np.pi) * (24 / (2 * np.pi))
    return np.column_stack([np.sign(root) * np.square(root), np.expm1(gap) / 3600, hour])


def _amount(root: Floats, usual: Floats) -> Iterator[Facet]:
    known = ~np.isnan(root)
    yield Facet("amount against own", AMOUNT, (root - usual[:, 0]) / usual[:, 1], known, 0.5)
    yield Facet("amount", AMOUNT, root, known, 0.1)


def _pace(log: Floats, usual: Floats, history: History) -> Iterator[Facet]:
    known, always = ~np.isnan(log), np.ones(len(log), dtype=np.bool_)
    yield Facet("pace against own", PACE, (log - usual[:, 2]) / usual[:, 3], known, 0.5)
    yield Facet("pace", PACE, log, known, 0.1)
    yield Facet("last hour", PACE, np.log1p(history.hour), always, 0.3)
    yield Facet("last day", PACE, np.log1p(history.day), always, 0.3)


def _time_of_day(time: Ints) -> Iterator[Facet]:
    always = np.ones(len(time), dtype=np.bool_)
    weekday = (time // (24 * _HOUR_US) + 3) % 7  # 1 January 1970 was a Thursday
    for name, angle in (("hour", _hour(time) / 24), ("weekday", weekday / 7)):
        yield Facet(f"{name} sin", TIME_OF_DAY, np.sin(2 * np.pi * angle), always)
        yield Facet(f"{name} cos", TIME_OF_DAY, np.cos(2 * np.pi * angle), always)


def _hour(time: Ints) -> Floats:
    return np.asarray(time % (24 * _HOUR_US) / _HOUR_US, dtype=np.float64)


def _category(
    name: str, channel: int, category: Category, words: Vocabulary, history: History, k: int
) -> Iterator[Facet]:
    slots, shares = words.look_up(category.texts)
    slot, share = slots[category.codes], shares[category.codes]
    always, before = np.ones(len(slot), dtype=np.bool_), history.rows > 0
    matches = history.matches[k]
    likely = (matches + SHRINK * share) / (history.rows + SHRINK)
    yield Facet(f"{name} surprise", channel, -np.log(likely), always, 1.0)
    yield Facet(f"{name} new", channel, ((matches == 0) & before).astype(np.float64), before)
    for place, label in enumerate(words.slots):
        yield Facet(f"{name} {label}", channel, (slot == place).astype(np.float64), always)
