"""What every simulated feed is made of: a day's lines in the order they arrive, faults, and labels.

In: rows of a day as arrays. Out: CSV lines, some late, repeated, lost or damaged as they are in the field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

MINUTE = 60_000_000
DAY = 1440 * MINUTE
EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Fault:
    """One labelled fault. `start` and `end` are aware, UTC; `ids` names transactions, where there are any."""

    entity: str
    kind: str
    start: datetime
    end: datetime
    channels: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Day:
    """One day of a feed: lines in the order they arrive, and when (int64 us UTC, rising)."""

    header: str
    arrival: NDArray[np.int64]
    lines: list[str]
    duplicates: int
    malformed: int
    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class Labels:
    """What was put into a feed, for judging what is found in it."""

    stream: str
    normal_until: datetime
    """Nothing is wrong before this: the end of what a model should learn from."""
    end: datetime
    lines: int = 0
    duplicates: int = 0
    malformed: int = 0
    faults: tuple[Fault, ...] = field(default=())


class Feed(Protocol):
    """Something that can say what it measured on any day."""

    name: str

    def day(self, day: date, *, faults: bool) -> Day:
        """Return a day's lines, with the faults planned for it or without."""


def midnight(day: date) -> int:
    """Return the start of a day in microseconds UTC."""
    return (day - EPOCH).days * DAY


def moment(us: float) -> datetime:
    """Return microseconds UTC as a time."""
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(us))


def rng(*key: int | str) -> np.random.Generator:
    """Return the generator of a key: the same key always draws the same numbers."""
    return np.random.default_rng([k if isinstance(k, int) else int.from_bytes(k.encode()) for k in key])


def stamps(time: NDArray[np.int64]) -> NDArray[np.str_]:
    """Write times as ISO 8601 in UTC, to the second."""
    text: NDArray[np.str_] = np.datetime_as_string(time.astype("datetime64[us]"), unit="s")
    return np.char.add(text, "Z")


def arrive(
    draw: np.random.Generator,
    time: NDArray[np.int64],
    lines: Sequence[str],
    header: str,
    faults: Sequence[Fault],
) -> Day:
    """Send a day's lines through a network that delays, repeats and damages a few of them.

    1 line in 300 comes up to 20 minutes late, 1 in 1,000 comes twice, 1 in 4,000 is damaged on the way.
    """
    rows = len(lines)
    late = np.where(draw.random(rows) < 1 / 300, draw.integers(MINUTE, 20 * MINUTE, rows), 0)
    arrival = time + late
    again = np.flatnonzero(draw.random(rows) < 1 / 1000)
    broken = np.flatnonzero(draw.random(rows) < 1 / 4000)
    damaged = [_damage(draw, lines[i]) for i in broken.tolist()]
    text = [*lines, *(lines[i] for i in again.tolist()), *damaged]
    when = np.concatenate([arrival, arrival[again] + 5 * MINUTE, arrival[broken] + MINUTE])
    order = np.argsort(when, kind="stable")
    return Day(header, when[order], [text[i] for i in order], len(again), len(damaged), tuple(faults))


def _damage(draw: np.random.Generator, line: str) -> str:
    """Return a line no parser should take: cut short, a word for a number, or a broken time."""
    fields = line.split(",")
    kind = draw.integers(3)
    if kind == 0:
        return ",".join(fields[: len(fields) // 2])
    if kind == 1:
        return line.replace("Z", "Z?", 1)
    return ",".join("ERR" if _is_number(f) else f for f in fields)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).replace("-", "", 1).isdigit()
