"""What people said of stretches of the history: which are no part of what is normal, and which surely are.

In: stretches of an entity's time. Out: records without what is masked, and which windows touch a stretch.
Masked is what was confirmed or missed as a fault, and maintenance; normal is what was called a false alarm.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import pyarrow as pa

from pipeline.prepare import columns
from pipeline.prepare.series import Bools, Ints

LABEL = "label"
"""Column of the labels of a transaction stream that has them."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the time of the entities that match a pattern, [start, end) in microseconds UTC."""

    entities: str
    start: int
    end: int
    why: str
    """`confirmed`, `missed`, `maintenance` or `false_alarm`."""


@dataclass(frozen=True)
class Feedback:
    """What people said of the history."""

    masked: tuple[Stretch, ...] = ()
    """Not to be learned from or calibrated on."""
    normal: tuple[Stretch, ...] = ()
    """To be learned from, and not to be flagged again."""
    labelled: bool = False
    """Whether the records have labels of their own, in column `label`: they say more."""

    def __bool__(self) -> bool:
        return bool(self.masked or self.normal)

    @property
    def mark(self) -> str:
        """A short name of all that was said; empty for nothing."""
        said = repr((sorted(map(_key, self.masked)), sorted(map(_key, self.normal))))
        return hashlib.sha256(said.encode()).hexdigest()[:16] if self else ""

    def counts(self) -> dict[str, int]:
        """Return how many stretches of each kind there are."""
        whys = [stretch.why for stretch in (*self.masked, *self.normal)]
        return {why: whys.count(why) for why in ("confirmed", "missed", "maintenance", "false_alarm")}

    def records(self, table: pa.Table) -> pa.Table:
        """Return a table of records without those that are masked.

        Where they have labels, one with a label stays; one without, in a normal stretch, is labelled honest.
        """
        if not self:
            return table
        masked, normal = (within(table, stretches) for stretches in (self.masked, self.normal))
        if self.labelled:
            label = columns.floats(table, LABEL)
            masked &= np.isnan(label)
            honest = pa.array(np.where(np.isnan(label) & normal, 0.0, label), from_pandas=True)
            table = table.set_column(table.column_names.index(LABEL), LABEL, honest)
        return table.filter(pa.array(~masked)) if masked.any() else table


def within(table: pa.Table, stretches: Sequence[Stretch]) -> Bools:
    """Tell of each record whether it lies in one of the stretches [N]."""
    found = np.zeros(len(table), dtype=np.bool_)
    if not stretches or not len(table):
        return found
    code, names = columns.coded(table, "entity")
    time, order = columns.micros(table), np.argsort(code, kind="stable")
    edges = np.searchsorted(code[order], np.arange(len(names) + 1))
    for number, name in enumerate(names):
        rows = order[edges[number] : edges[number + 1]]
        found[rows] = touching(stretches, name, time[rows], time[rows])
    return found


def touching(stretches: Sequence[Stretch], entity: str, first: Ints, last: Ints) -> Bools:
    """Tell which spans of an entity's time, from first to last [N], touch one of the stretches."""
    mine = sorted((s.start, s.end) for s in stretches if s.end > s.start and fnmatchcase(entity, s.entities))
    if not mine:
        return np.zeros(len(first), dtype=np.bool_)
    starts = np.array([start for start, _ in mine])
    reach = np.maximum.accumulate(np.array([end for _, end in mine]))
    before = np.searchsorted(starts, last, side="right")
    return np.asarray((before > 0) & (reach[np.maximum(before - 1, 0)] > first))


def _key(stretch: Stretch) -> tuple[str, int, int, str]:
    return stretch.entities, stretch.start, stretch.end, stretch.why
