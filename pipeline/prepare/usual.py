"""What is usual for an entity so far, robustly: what it pays, how that spreads, its pace, what it repeats.

In: a `Ledger`, and `Norms` of the population. Out: `Usual` for every row, from at most `ROWS` earlier rows of
its entity, none older than `context`. A row never sees itself or anything later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pipeline.errors import BundleError
from pipeline.prepare.history import ROWS
from pipeline.prepare.ledger import Ledger
from pipeline.prepare.series import Bools, Floats

SHRINK = 2.0
"""Weight of the population in a short history, in transactions."""
HELD = 2.0
"""An earlier amount counts for at most this many times the entity's median one: a payment that was a fraud
must not make the next one look usual."""
WILD = 20.0
"""The same for the population, whose amounts differ more."""
BURST, BURST_ROWS = 0.25, 0.5
"""A burst goes as fast as this share of all gaps, for this share of a window."""
MOST, LEAST = 1e75, 1e-75
"""Amounts are held between these, so that their ratios stay finite."""
_CHUNK = 8192


@dataclass(frozen=True)
class Norms:
    """What is usual in the population: amount, its size whatever its sign, and how long a burst lasts."""

    amount: float
    size: float
    burst_us: int

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, saved: Any) -> Self:
        """Read `to_dict` back; BundleError when it is damaged."""
        if not isinstance(saved, Mapping):
            raise BundleError("the bundle lacks the population's usual amounts")
        try:
            made = cls(float(saved["amount"]), float(saved["size"]), int(saved["burst_us"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise BundleError("the population's usual amounts in the bundle are damaged") from error
        if not (np.isfinite([made.amount, made.size]).all() and made.size >= LEAST and made.burst_us > 0):
            raise BundleError("the population's usual amounts in the bundle are no usable numbers")
        return made


@dataclass(frozen=True)
class Usual:
    """One value for each row of the ledger [N]."""

    amount: Floats
    """Mean of the amounts so far, none counted for more than HELD medians."""
    spread: Floats
    """How far an amount usually may be from it: the mean size, wider the shorter the history."""
    pace: Floats
    """How many payments lie within a burst's length, over what chance makes of the others: the root of how
    many came before. Many of an entity that is hardly known are odd, as many of an old one less so."""
    same: Floats
    """Share of the history that was exactly as much: what is paid every month comes again."""


def learn_norms(book: Ledger, chosen: Bools, length: int) -> Norms:
    """Learn from the rows of a ledger that are `chosen` [N].

    Args:
        book: transactions in order.
        chosen: rows to learn from.
        length: transactions in a window.
    """
    amount = np.clip(book.amount[chosen], -MOST, MOST)
    amount = amount[~np.isnan(amount)]
    middle = float(np.median(np.abs(amount))) if len(amount) else 0.0
    held = np.clip(amount, -WILD * middle, WILD * middle) if middle > 0 else amount
    size = float(np.abs(held).mean()) if len(held) else 0.0
    gap = np.diff(book.time)[(book.entity[1:] == book.entity[:-1]) & chosen[1:]]
    fast = float(np.quantile(gap, BURST)) if len(gap) else 0.0
    return Norms(
        float(held.mean()) if len(held) else 0.0,
        max(size, LEAST) if size > 0 else 1.0,
        int(BURST_ROWS * length * max(fast, 1e6)),
    )


def look(book: Ledger, norms: Norms, context: int) -> Usual:
    """Say of each row what was usual before it, not longer ago than `context` microseconds."""
    past = _Past(book, norms, context)
    parts = [past.summary(first) for first in range(0, len(book), _CHUNK)] or [past.summary(0)]
    return Usual(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def oddness(book: Ledger, usual: Usual) -> Floats:
    """Return how many usual spreads an amount is from the usual one [N]; NaN where there is none."""
    return np.abs(np.clip(book.amount, -MOST, MOST) - usual.amount) / usual.spread


class _Past:
    """Views [N, ROWS] of the rows before each row, oldest first; nothing is copied until a chunk asks."""

    def __init__(self, book: Ledger, norms: Norms, context: int) -> None:
        self.book, self.norms, self.context = book, norms, context
        self.begin = book.begin
        self.time, self.known = _before(book.time), _before(~np.isnan(book.amount))
        self.amount = _before(np.clip(np.nan_to_num(book.amount), -MOST, MOST))

    def summary(self, first: int) -> tuple[Floats, ...]:
        """Return the columns of `Usual` for one chunk of rows."""
        rows = slice(first, min(first + _CHUNK, len(self.book)))
        now, past = self.book.time[rows, None], self.time[rows]
        earlier = np.arange(rows.start, rows.stop) - self.begin[rows]
        seen = (np.arange(ROWS) >= ROWS - earlier[:, None]) & (past >= now - self.context)
        count, known = seen.sum(axis=1), seen & self.known[rows]
        recent = (seen & (past >= now - self.norms.burst_us)).sum(axis=1)
        as_much = known & (self.amount[rows] == np.clip(self.book.amount[rows, None], -MOST, MOST))
        amount, spread = self._amounts(self.amount[rows], known)
        pace = (1 + recent) / np.sqrt(1 + count - recent)
        return amount, spread, pace, as_much.sum(axis=1) / (count + SHRINK)

    def _amounts(self, amount: Floats, seen: Bools) -> tuple[Floats, Floats]:
        count = seen.sum(axis=1)
        middle = (count * _median(np.abs(amount), seen) + SHRINK * self.norms.size) / (count + SHRINK)
        most = HELD * middle[:, None]
        held = np.where(seen, np.clip(amount, -most, most), 0.0)
        size = (np.abs(held).sum(axis=1) + SHRINK * self.norms.size) / (count + SHRINK)
        mean = (held.sum(axis=1) + SHRINK * self.norms.amount) / (count + SHRINK)
        return mean, np.maximum(size, LEAST) * np.sqrt(1 + 4 / (count + SHRINK))


def _median(values: Floats, seen: Bools) -> Floats:
    """Return the median of each row's seen values; 0 where there is none."""
    count = seen.sum(axis=1)
    ordered = np.sort(np.where(seen, values, np.inf), axis=1)
    at = np.stack([np.maximum(count - 1, 0) // 2, np.minimum(count // 2, np.maximum(count - 1, 0))], axis=1)
    both = np.take_along_axis(ordered, at, axis=1)
    return np.where(count > 0, np.where(np.isfinite(both), both, 0.0).mean(axis=1), 0.0)


def _before(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    padded = np.concatenate([np.zeros(ROWS, values.dtype), values])
    return np.lib.stride_tricks.sliding_window_view(padded, ROWS)
