"""The other side of a transaction: what a terminal, merchant or country saw of others, and what became known.

In: a `Ledger` and how odd each row's amount is to its own card; labels. Out: for every row and categorical
field, how odd others' latest payments at the same value were; and counts of payments and confirmed frauds
that were known at the time. A row never sees itself, anything later, or a label younger than the delay.
"""

from __future__ import annotations

import numpy as np

from pipeline.prepare.ledger import Category, Ledger
from pipeline.prepare.series import Bools, Floats, Ints

ROWS = 16
"""Earlier payments at the same value that are looked at, at most."""
SHRINK = 4.0
"""Weight of nothing odd, in payments."""
MOST_ODD = 6.0
"""Oddness of one payment counts up to this: one wild payment is no pattern."""
DAY_US = 86_400_000_000
WINDOWS_US = (DAY_US, 7 * DAY_US, 30 * DAY_US)
"""In which confirmed frauds are counted, as in the Fraud Detection Handbook (Le Borgne et al., 2022)."""


def others(book: Ledger, odd: Floats, category: Category, context: int) -> Floats:
    """Return the mean oddness of other entities' latest payments at each row's value [N], shrunk to 0.

    Args:
        book: transactions in order.
        odd: how odd each one is; NaN counts as 0.
        category: the field.
        context: microseconds; older payments do not count.
    """
    order = np.lexsort((book.time, category.codes))
    code, time, entity = category.codes[order], book.time[order], book.entity[order]
    value = np.minimum(np.nan_to_num(odd[order]), MOST_ODD)
    known = np.array([text != "" for text in category.texts], dtype=np.bool_)[code]
    total, count = np.zeros(len(book)), np.zeros(len(book))
    for back in range(1, min(ROWS, len(book) - 1) + 1):
        now, then = slice(back, None), slice(None, -back)
        counts = (code[now] == code[then]) & (entity[now] != entity[then]) & known[now]
        counts &= (time[now] > time[then]) & (time[now] - time[then] <= context)
        total[now] += np.where(counts, value[then], 0.0)
        count[now] += counts
    mean = np.empty(len(book))
    mean[order] = total / (count + SHRINK)
    return mean


def confirmed(book: Ledger, delay: int) -> Floats:
    """Return what was known of each row's entity and categories [N, fields + 1, windows, 2].

    For each window before `time - delay`: transactions whose label is known, and frauds among them.

    Args:
        book: transactions in order, with labels.
        delay: microseconds after which a label is known.
    """
    keys = [book.entity, *(c.codes for c in book.categories)]
    out = np.zeros((len(book), len(keys), len(WINDOWS_US), 2))
    for k, key in enumerate(keys):
        named = np.ones(len(book), dtype=np.bool_)
        if k:
            named = np.array([t != "" for t in book.categories[k - 1].texts], dtype=np.bool_)[key]
        out[:, k] = np.where(named[:, None, None], _counts(key, book.time, book.label, delay), 0.0)
    return out


def _counts(key: Ints, time: Ints, label: Floats, delay: int) -> Floats:
    order = np.lexsort((time, key))
    sorted_key, moments = key[order], time[order]
    known: Bools = ~np.isnan(label[order])
    fraud = known & (label[order] > 0)
    sums = np.stack([_running(known), _running(fraud)], axis=1)
    place = _Place(sorted_key, moments)
    last = place.first_at(-delay)
    out = np.empty((len(key), len(WINDOWS_US), 2))
    for w, window in enumerate(WINDOWS_US):
        out[order, w] = sums[last] - sums[place.first_at(-delay - window)]
    return out


class _Place:
    """Finds the first row of each row's key at or after a moment; rows are sorted by key and time."""

    def __init__(self, key: Ints, time: Ints) -> None:
        self.begin = np.searchsorted(key, key)
        self.end = np.searchsorted(key, key, side="right")
        self.time = time

    def first_at(self, shift: int) -> Ints:
        """Return the first row of the same key with a time ≥ this row's + shift (below 0)."""
        low, high, wanted = self.begin.copy(), self.end.copy(), self.time + shift
        while True:
            left = low < high
            if not left.any():
                return low
            middle = (low + high) // 2
            later = self.time[np.minimum(middle, len(self.time) - 1)] < wanted
            low = np.where(left & later, middle + 1, low)
            high = np.where(left & ~later, middle, high)


def _running(flags: Bools) -> Floats:
    return np.concatenate([[0.0], np.cumsum(flags, dtype=np.float64)])
