"""Categories as a bounded set of slots, by how frequent they were in training.

In: the texts of a categorical column. Out: for each a slot (a frequent value, rare, or unknown) and its
share of the population. What is not frequent is kept as counts in hashed buckets, so that a field with
millions of values takes no more room than one with thousands.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from pipeline.errors import BundleError
from pipeline.prepare.series import Floats, Ints

FREQUENT = 15
"""Values with a slot of their own, at most."""
LEAST_SHARE = 0.002
"""Share of training rows from which a value gets one."""
BUCKETS = 1 << 16


@dataclass(frozen=True)
class Vocabulary:
    """What training showed of one categorical field."""

    total: int
    frequent: dict[str, int]
    """Count of each value with a slot of its own, most frequent first."""
    buckets: dict[int, tuple[int, int]]
    """Hashed bucket → rows and distinct values in it, of all other values."""

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the slots: the frequent values, then rare, then unknown."""
        return (*(f"={value}" for value in self.frequent), "rare", "unknown")

    def look_up(self, texts: Sequence[str]) -> tuple[Ints, Floats]:
        """Return the slot and the share of the population, above 0, of each text."""
        place = {value: slot for slot, value in enumerate(self.frequent)}
        slots = np.empty(len(texts), dtype=np.int64)
        shares = np.empty(len(texts))
        for i, text in enumerate(texts):
            slot = place.get(text)
            slots[i], shares[i] = self._other(text) if slot is None else (slot, self._share(text))
        return slots, shares

    def _share(self, text: str) -> float:
        return self.frequent[text] / self.total

    def _other(self, text: str) -> tuple[int, float]:
        rows, distinct = self.buckets.get(_bucket(text), (0, 1))
        rare = len(self.frequent)
        return (rare, rows / distinct / self.total) if rows else (rare + 1, 0.5 / (self.total + 1))

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        buckets = [[bucket, *counts] for bucket, counts in self.buckets.items()]
        return {"total": self.total, "frequent": list(map(list, self.frequent.items())), "buckets": buckets}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """Read `to_dict` back; BundleError when it is damaged."""
        try:
            frequent = {str(value): int(count) for value, count in saved["frequent"]}
            buckets = {int(b): (int(rows), int(distinct)) for b, rows, distinct in saved["buckets"]}
            total = int(saved["total"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleError("a vocabulary in the bundle is damaged") from error
        counts = [total, *frequent.values(), *(n for pair in buckets.values() for n in pair)]
        if min(counts) < 1 or len(frequent) > FREQUENT or len(buckets) > BUCKETS:
            raise BundleError("a vocabulary in the bundle has impossible counts")
        return cls(total, frequent, buckets)


def learn(codes: Ints, texts: Sequence[str]) -> Vocabulary:
    """Learn from rows given as codes [N] into `texts`."""
    count = np.bincount(codes, minlength=len(texts))
    order = np.argsort(-count, kind="stable")
    chosen = [i for i in order[:FREQUENT] if count[i] and count[i] >= LEAST_SHARE * len(codes)]
    buckets: dict[int, tuple[int, int]] = {}
    for i in set(np.flatnonzero(count).tolist()).difference(int(i) for i in chosen):
        rows, distinct = buckets.get(_bucket(texts[i]), (0, 0))
        buckets[_bucket(texts[i])] = (rows + int(count[i]), distinct + 1)
    frequent = {texts[i]: int(count[i]) for i in chosen}
    return Vocabulary(len(codes), frequent, dict(sorted(buckets.items())))


def _bucket(text: str) -> int:
    return zlib.crc32(text.encode()) % BUCKETS
