"""Splits by time: training before one global cut, calibration after it and an embargo; and shards.

In: times, or series of the whole history. Out: training and held-out series, which share no row's window.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.errors import NotEnoughData
from pipeline.prepare import columns
from pipeline.prepare.series import Ints, Series


@dataclass(frozen=True)
class Split:
    """Training rows lie before `cut`; held-out rows are judged from `since` on."""

    train: list[Series]
    held_out: list[Series]
    """Begin up to one window before `since`: make `Windows(..., since=split.since)` of them."""
    cut: int
    since: int


def cut_time(table: pa.Table, holdout: float, since: int | None = None) -> int:
    """Return the moment (microseconds UTC) after which the latest `holdout` share of rows lies.

    Rows before `since` (microseconds UTC) are no part of it.
    """
    time = columns.micros(table)
    time = time if since is None else time[time >= since]
    if not len(time):
        raise NotEnoughData("no observations to split into training and calibration")
    rank = min(int((1 - holdout) * len(time)), len(time) - 1)
    return int(np.partition(time, rank)[rank])


def split(series: Sequence[Series], cut: int, embargo: int, length: int) -> Split:
    """Split series at one global moment, never at random: neighbouring windows overlap.

    Held-out series keep the `length - 1` rows before `since = cut + embargo`, so that no window on
    judged rows is padded for want of history. For sensors an embargo of one window keeps those rows
    out of training; a transaction's window looks back at the entity's history, as it will in use.

    Args:
        series: the whole history, from `transform`.
        cut: microseconds UTC, from `cut_time`, the same that scaling was fitted `until`.
        embargo: microseconds that belong to neither part.
        length: rows in a window.

    Raises:
        NotEnoughData: one part would be empty.
    """
    since = cut + embargo
    train = [part for s in series if len(part := s.rows(0, _first(s.time, cut)))]
    held_out = [part for s in series if len(part := _judged(s, since, length))]
    if not train or not held_out:
        side = "after" if train else "before"
        raise NotEnoughData(f"too little history: nothing is left {side} the split")
    return Split(train, held_out, cut, since)


def shard(entity: str, shards: int) -> int:
    """Return which of `shards` parts an entity belongs to: the same in every process and release."""
    return zlib.crc32(entity.encode()) % shards


def _judged(series: Series, since: int, length: int) -> Series:
    first = _first(series.time, since)
    return series.rows(max(0, first - length + 1) if first < len(series) else first, len(series))


def _first(time: Ints, moment: int) -> int:
    return int(np.searchsorted(time, moment))
