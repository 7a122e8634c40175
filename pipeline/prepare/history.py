"""What an entity did before each transaction, within a bounded past, so that slices equal the whole.

In: a `Ledger`. Out: `History`, for every row a summary of at most `ROWS` earlier rows of its entity, none
older than `context`. A row never sees itself or anything later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.prepare.ledger import Ledger
from pipeline.prepare.series import Bools, Floats, Ints

ROWS = 64
"""Earlier transactions of the entity that a row looks back at, at most."""
MOST_ROOT = 1e75  # its square's square is still a float
SHRINK = 4.0
"""Weight of the population in a short history, in transactions."""
_CHUNK = 8192
_SECOND = 1_000_000
_HOUR, _DAY = 3600 * _SECOND, 86400 * _SECOND

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class Usual:
    """Mean and spread of a quantity in each row's history, over `count` values [N]."""

    count: Floats
    mean: Floats
    spread: Floats

    def shrunk(self, center: float, scale: float) -> tuple[Floats, Floats]:
        """Return mean and spread [N] pulled towards the population's, the more the shorter the history.

        The spread is pulled on a log scale: with a plain average of variances a steady entity would
        keep the population's spread for hundreds of transactions.
        """
        mean = (self.count * self.mean + SHRINK * center) / (self.count + SHRINK)
        known = np.maximum(self.count - 1, 0)
        own = np.log(np.maximum(self.spread, 0.05 * scale))
        return mean, np.exp((known * own + SHRINK * np.log(scale)) / (known + SHRINK))


@dataclass(frozen=True)
class History:
    """One value for each row of the ledger [N]."""

    rows: Ints
    """Earlier transactions looked back at."""
    amount: Usual
    """Of roots of amounts."""
    pace: Usual
    """Of log gaps between the earlier transactions."""
    hour: Ints
    """Of them, in the hour before."""
    day: Ints
    """Of them, in the 24 hours before."""
    matches: tuple[Ints, ...]
    """Of them, with this row's category, for each categorical field."""


def root_amount(amount: Floats) -> Floats:
    """Return the root of |amount| with the amount's sign, and at most MOST_ROOT.

    A logarithm would put a payment of one further from one of fifty than a payment of a thousand: small
    amounts would be the most unusual of all.
    """
    return np.asarray(np.sign(amount) * np.minimum(np.sqrt(np.abs(amount)), MOST_ROOT), dtype=np.float64)


def log_gap(time: Ints) -> Floats:
    """Return log(1 + seconds since the row before) [N]; 0 for the first."""
    return np.log1p(np.maximum(np.diff(time, prepend=time[:1]), 0) / _SECOND)


def look_back(book: Ledger, context: int) -> History:
    """Summarise each row's history, no older than `context` microseconds."""
    amount = root_amount(book.amount)
    past = _Past(book, context, amount, log_gap(book.time))
    parts = [past.summary(first) for first in range(0, len(book), _CHUNK)] or [past.summary(0)]
    whole = [np.concatenate(column) for column in zip(*parts, strict=True)]
    rows, hour, day, *rest = whole
    amounts, paces, matches = Usual(*rest[:3]), Usual(*rest[3:6]), tuple(rest[6:])
    return History(rows, amounts, paces, hour, day, matches)


class _Past:
    """Views [N, ROWS] of the rows before each row, oldest first; nothing is copied until a chunk asks."""

    def __init__(self, book: Ledger, context: int, amount: Floats, gap: Floats) -> None:
        self.book, self.context = book, context
        self.begin = book.begin
        self.time = _before(book.time)
        self.known = _before(~np.isnan(amount))
        self.amount = _before(np.nan_to_num(amount))
        self.gap = _before(gap)
        self.codes = [_before(c.codes) for c in book.categories]

    def summary(self, first: int) -> list[npt.NDArray[np.generic]]:
        """Return the columns of `History` for one chunk of rows."""
        rows = slice(first, min(first + _CHUNK, len(self.book)))
        now = self.book.time[rows, None]
        past = self.time[rows]
        seen = self._own_rows(rows) & (past >= now - self.context)
        matches = [
            (seen & (before[rows] == category.codes[rows, None])).sum(axis=1)
            for before, category in zip(self.codes, self.book.categories, strict=True)
        ]
        return [
            seen.sum(axis=1),
            (seen & (past >= now - _HOUR)).sum(axis=1),
            (seen & (past >= now - _DAY)).sum(axis=1),
            *_moments(self.amount[rows], seen & self.known[rows]),
            *_moments(self.gap[rows, 1:], seen[:, :-1]),  # a gap belongs to the later of two seen rows
            *matches,
        ]

    def _own_rows(self, rows: slice) -> Bools:
        earlier = np.arange(rows.start, rows.stop) - self.begin[rows]
        return np.asarray(np.arange(ROWS) >= ROWS - earlier[:, None], dtype=np.bool_)


def _before(values: npt.NDArray[T]) -> npt.NDArray[T]:
    padded = np.concatenate([np.zeros(ROWS, values.dtype), values])
    return np.lib.stride_tricks.sliding_window_view(padded, ROWS)


def _moments(values: Floats, chosen: Bools) -> tuple[Floats, Floats, Floats]:
    count = chosen.sum(axis=1).astype(np.float64)
    some = np.maximum(count, 1)
    mean = np.where(chosen, values, 0.0).sum(axis=1) / some
    off = np.where(chosen, values - mean[:, None], 0.0)
    return count, mean, np.sqrt((off * off).sum(axis=1) / some)
