"""Injected faults: what one is, and which entity gets which, where and in which copy.

In: kinds of fault, and how many places each entity has. Out: seats, dealt so that kinds and entities mix.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pipeline.prepare import Series


@dataclass(frozen=True)
class Fault:
    """One fault that was put into a copy: what, where, and how large."""

    kind: str
    entity: str
    start: int
    """Microseconds UTC."""
    stop: int
    """The first moment after it."""
    channels: tuple[str, ...]
    size: float
    """In the channels' usual spreads; of transactions, as its kind says."""
    ids: tuple[str, ...] = ()
    """Transactions that are wrong; empty for sensors, whose rows from start to stop all are."""

    def rows(self, series: Series) -> NDArray[np.bool_]:
        """Return which rows of a series are faulty [T]."""
        if series.entity != self.entity:
            return np.zeros(len(series), np.bool_)
        if series.ids is not None:
            return np.isin(series.ids.astype(str), self.ids)
        return np.asarray((series.time >= self.start) & (series.time < self.stop))


@dataclass(frozen=True)
class Copy:
    """A copy of held-out records with faults in it; the records it was made of are as they were."""

    records: pa.Table
    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class Seat:
    """Where a fault goes: into which copy, to whom, into which of the entity's places."""

    copy: int
    kind: str
    entity: str
    place: int


def deal(kinds: Sequence[str], places: Mapping[str, int], each: int, draw: np.random.Generator) -> list[Seat]:
    """Deal `each` faults of every kind to entities in turn, so that all of them and all kinds mix.

    An entity whose places are taken goes on in another copy: there are as many copies as that needs.

    Args:
        kinds: names.
        places: of each entity, how many faults fit into one copy, at least 1.
        each: faults of one kind.
        draw: shuffles entities, and the order in which kinds come.
    """
    entities = [str(name) for name in draw.permutation(sorted(places))]
    pairs = [(kind, entities[i % len(entities)]) for i, kind in enumerate(np.repeat(kinds, each).tolist())]
    taken: Counter[str] = Counter()
    seats = []
    for i in draw.permutation(len(pairs)):
        kind, entity = pairs[i]
        copy, place = divmod(taken[entity], places[entity])
        taken[entity] += 1
        seats.append(Seat(copy, kind, entity, place))
    return seats
