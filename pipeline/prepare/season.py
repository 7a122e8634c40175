"""Seasons: what comes back every day, week or cycle of a machine, and what a channel is without it.

In: scaled values on a grid. Out: a `Season`, or none where nothing comes back reliably.

A window of an hour cannot know that this value belongs to another hour of the day. The period is where the
channels' autocorrelation peaks; it counts if the mean course of one part of the history foretells the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from pipeline.errors import BundleError
from pipeline.prepare.scaling import quantiles
from pipeline.prepare.series import CLIP, Floats, Ints

GAIN, SURE = 0.4, 0.8
"""Share of a channel's variance that its season must explain in rows it was not learned from: a day's or a
week's; and any other's, which may be two cycles that happen to fall together for a while."""
AS_GOOD = 0.1
"""A longer period must explain so much more than a shorter one, or what it has more is chance."""
OUTER = 0.01
"""Share of an entity's lowest and of its highest values that count as no further out than the others."""
LEAST_ROWS = 200
"""Fewer say nothing of what comes back."""
CYCLES = 2
"""So many periods at least in the history."""
LEARNED = 0.6
"""Part of the history that a season is learned from when it is tried; the rest is foretold."""
PEAK = 0.1
"""Autocorrelation below which nothing comes back; the search begins where it has first fallen so far."""
CANDIDATES = 6
CLOSE = 0.05
"""Periods that differ by less are one, which the highest autocorrelation tells best."""
KNOTS = 256
"""A longer period's course is kept by so many values, with straight lines between."""
STEADY = 64
"""A course is smoothed over one part in so many of its period."""
FAMILIAR = (86_400_000_000, 604_800_000_000)
"""A day and a week, in microseconds; a period is taken for one that it is nearly."""
NEARLY = 0.02
KNOWN = 2 / 3
"""Lags up to this part of the history are made of pairs enough."""
MOST_ROWS = 65_536
"""The latest of an entity are enough to find a season by."""
MOST_ENTITIES = 8


@dataclass(frozen=True)
class Piece:
    """One entity's scaled values [T, C] on the grid from cell `first` on; NaN where missing."""

    first: int
    values: Floats

    @classmethod
    def of(cls, cell: Ints, values: Floats) -> Piece:
        """Lay out observed cells, ascending, with their values; the latest where there are very many."""
        first = max(int(cell[0]), int(cell[-1]) - MOST_ROWS + 1)
        recent = cell >= first
        laid = np.full((int(cell[-1]) - first + 1, values.shape[1]), np.nan)
        low, high = quantiles(np.clip(values[recent], -CLIP, CLIP), OUTER, 1 - OUTER)
        laid[cell[recent] - first] = np.clip(values[recent], low, high)
        return cls(first, laid)

    @property
    def observed(self) -> int:
        """Rows in which anything is known."""
        return int((~np.isnan(self.values)).any(axis=1).sum())

    @property
    def cell(self) -> Ints:
        """Number of each row's cell [T]."""
        return np.arange(self.first, self.first + len(self.values))


@dataclass(frozen=True)
class Season:
    """The mean course of some channels over one period, in scaled units around 0.

    A row's place in the period is its cell's number modulo the period, so that a slice of a stream has
    the season of the whole.
    """

    period: float
    """Grid cells; a machine's cycle is no whole number of them."""
    channels: Ints
    """Which channels have it [S]."""
    course: Floats
    """[K, S] over the period, evenly spaced."""

    def at(self, cell: Ints) -> Floats:
        """Return the season of cells [T] as [T, S]."""
        knots = len(self.course)
        place = (cell % self.period + 0.5) * (knots / self.period) - 0.5
        before = np.floor(place).astype(np.int64)
        after = (place - before)[:, None]
        return np.asarray(
            (1 - after) * self.course[before % knots] + after * self.course[(before + 1) % knots]
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, exact when read back."""
        return {"period": self.period, "channels": self.channels.tolist(), "course": self.course.tolist()}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any], width: int) -> Self:
        """Read `to_dict`'s numbers back; BundleError unless they are of some of `width` channels."""
        try:
            made = cls(
                float(saved["period"]),
                np.asarray(saved["channels"], np.int64),
                np.asarray(saved["course"], np.float64),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError("the season in the bundle is damaged") from error
        count = made.channels.size
        known = count and made.channels.ndim == 1 and set(made.channels.tolist()) <= set(range(width))
        shaped = (
            made.course.ndim == 2 and made.course.shape[1] == count and 0 < len(made.course) <= made.period
        )
        if not (known and shaped and np.isfinite(made.course).all()):
            raise BundleError(f"the season in the bundle is not one of {width} channels")
        return made


@dataclass(frozen=True)
class _Tried:
    period: float
    share: Floats  # of the course that the later rows follow [C]
    gain: Floats  # share of their variance that it explains [C]


def fit_season(pieces: Sequence[Piece], step_us: int, least: int) -> Season | None:
    """Find what comes back in the history, if anything does.

    Args:
        pieces: of any entities, all on one grid; commands and what is not to be looked at as NaN.
        step_us: of the grid, microseconds.
        least: shortest period, cells: what is shorter a window sees by itself.

    Returns:
        The shortest period that is about as good as the best, for the channels it explains; or None.
    """
    pieces = [piece for piece in pieces if piece.observed >= LEAST_ROWS]
    pieces = sorted(pieces, key=lambda piece: len(piece.values))[-MOST_ENTITIES:]
    if not pieces:
        return None
    lags = _clearest(_autocorrelation(pieces), least)
    periods = sorted({_familiar(_exact(lags, lag), step_us) for lag in _peaks(lags, least)})
    tried = [found for period in periods if (found := _try(pieces, period))]
    if not tried:
        return None
    gains = np.array([each.gain for each in tried])
    known = np.array([each.period * step_us in FAMILIAR for each in tried])
    has_it = gains > np.where(known, GAIN, SURE)[:, None]
    if not has_it.any():
        return None
    worth = np.where(has_it, gains, 0.0)[:, has_it.any(axis=0)].mean(axis=1)
    at = int((worth >= worth.max() - AS_GOOD).argmax())
    chosen, channels = tried[at], np.flatnonzero(has_it[at])
    course = chosen.share * _course(pieces, chosen.period)
    return Season(chosen.period, channels, course[:, channels])


def _autocorrelation(pieces: Sequence[Piece]) -> Floats:
    """Return each channel's, by lag [T, C]; rows that are missing count as usual ones."""
    rows, channels = max(piece.values.shape for piece in pieces)
    total, count = np.zeros((rows, channels)), np.zeros((rows, channels))
    for piece in pieces:
        size = len(piece.values)
        for channel, column in enumerate(_centred(piece.values, piece.values).T):
            if (spread := float(np.sqrt(np.mean(column**2)))) > 1e-9:
                power = np.abs(np.fft.rfft(column / spread, 2 * size)) ** 2
                total[:size, channel] += np.fft.irfft(power, 2 * size)[:size]
                count[:size, channel] += size - np.arange(size)
    return np.asarray(total / np.maximum(count, 1))


def _clearest(lags: Floats, least: int) -> Floats:
    """Return the mean [T] over the channels that come back at least half as clearly as the clearest."""
    tried = lags[: len(lags) // CYCLES]
    fallen = np.maximum.accumulate(tried < PEAK, axis=0)
    fallen[:least] = False
    height = np.where(fallen, tried, 0.0).max(axis=0, initial=0.0)
    clear = (height > PEAK) & (height >= height.max(initial=0.0) / 2)
    return np.asarray(lags[:, clear].mean(axis=1) if clear.any() else np.zeros(len(lags)))


def _peaks(lags: Floats, least: int) -> list[int]:
    """Return the highest local maxima, and the shortest about as high, that come several times.

    None is shorter than `least`, and of those close to one another the highest stands for all.
    """
    stop = len(lags) // CYCLES
    fallen = np.flatnonzero(lags[:stop] < PEAK)
    if not len(fallen):
        return []
    at = np.arange(max(int(fallen[0]), least, 1), stop)
    high = at[(lags[at] >= lags[at - 1]) & (lags[at] > lags[at + 1]) & (lags[at] > PEAK)]
    kept: list[int] = []
    for lag in high[np.argsort(-lags[high], kind="stable")].tolist():
        if all(abs(lag - other) > CLOSE * other for other in kept):
            kept.append(lag)
    as_high = sorted(lag for lag in kept if lags[lag] >= lags[kept[0]] - AS_GOOD)
    return sorted({*kept[:CANDIDATES], *as_high[:CANDIDATES]})


def _exact(lags: Floats, lag: int) -> float:
    """Return the period that a lag is, to a fraction of a cell, from where its multiples peak.

    After a hundred cycles, half a cell too much would be fifty.
    """
    period, times = float(lag), 1
    while 2 * times * period + 2 < KNOWN * len(lags):
        times *= 2
        around = np.arange(-2, 3) + round(times * period)
        if lags[around].max() < PEAK:
            break
        period = float(around[lags[around].argmax()] / times)
    return period


def _familiar(period: float, step_us: int) -> float:
    """Return the period, or the day or week that it nearly is, where that is a whole number of cells."""
    for span in FAMILIAR:
        cells, rest = divmod(span, step_us)
        if not rest and abs(period - cells) <= NEARLY * cells:
            return float(cells)
    return period


def _try(pieces: Sequence[Piece], period: float) -> _Tried | None:
    """Learn the course from the first part of the history, and see how well it foretells the rest.

    The gain is that of the worse half of the rest: a period that is somewhat wrong is ever more so.
    """
    first = min(piece.first for piece in pieces)
    last = max(piece.first + len(piece.values) for piece in pieces)
    cut = first + max(int((last - first) * LEARNED), int(period))
    if last - cut < period / 4:
        return None
    early = [Piece(p.first, p.values[: max(cut - p.first, 0)]) for p in pieces]
    channels = pieces[0].values.shape[1]
    season = Season(period, np.arange(channels), _course(early, period))
    dot, squares, spread = np.zeros((3, 2, channels))  # of the sooner and the later half of the rest
    for piece, learned in zip(pieces, early, strict=True):
        known = len(learned.values)
        off = _centred(piece.values[known:], learned.values if known else piece.values)
        course = np.where(np.isnan(piece.values[known:]), 0.0, season.at(piece.cell[known:]))
        half = (piece.cell[known:] >= (cut + last) // 2).astype(np.int64)
        np.add.at(dot, half, off * course)
        np.add.at(squares, half, course**2)
        np.add.at(spread, half, off**2)
    share = np.clip(dot.sum(axis=0) / np.maximum(squares.sum(axis=0), 1e-9), 0, 1)
    left = spread - 2 * share * dot + share**2 * squares
    gain = np.where(spread > 1e-9, 1 - left / np.maximum(spread, 1e-9), 0.0)
    return _Tried(period, share, gain.min(axis=0))


def _course(pieces: Sequence[Piece], period: float) -> Floats:
    """Return the mean of each place in the period, smoothed a little, around 0 [K, C]."""
    knots, channels = min(int(period), KNOTS), pieces[0].values.shape[1]
    total, count = np.zeros((knots, channels)), np.zeros((knots, channels))
    for piece in pieces:
        place = np.minimum(piece.cell % period * (knots / period), knots - 1).astype(np.int64)
        off, known = _centred(piece.values, piece.values), ~np.isnan(piece.values)
        for channel in range(channels):
            total[:, channel] += np.bincount(place, off[:, channel], knots)
            count[:, channel] += np.bincount(place, known[:, channel], knots)
    total, count = _around(total, count)
    course = total / np.maximum(count, 1)
    return np.asarray(course - course.mean(axis=0))


def _around(total: Floats, count: Floats) -> tuple[Floats, Floats]:
    """Add to each place's sums those beside it, as many as `STEADY` says."""
    shifts = np.arange(-(len(total) // STEADY // 2), len(total) // STEADY // 2 + 1)
    places = (np.arange(len(total))[:, None] + shifts) % len(total)
    return total[places].sum(axis=1), count[places].sum(axis=1)


def _centred(values: Floats, usual: Floats) -> Floats:
    """Return values [T, C] less the mean of `usual` [U, C], 0 where missing."""
    known = ~np.isnan(usual)
    mean = np.where(known, usual, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.asarray(np.nan_to_num(values - mean, nan=0.0), np.float64)
