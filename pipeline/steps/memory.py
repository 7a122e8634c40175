"""What a process that stays keeps of one stream from one scoring to the next.

Losing it costs time, and changes nothing: all of it is made again from what is stored.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.detect import Lanes
    from pipeline.steps.score import Champion

LOOKED = 5.0  # seconds after which a new champion is looked for


@dataclass
class Shard:
    """What is remembered of one shard: joints of its rows, as they follow from the batches up to `batch`."""

    batch: int
    version: int
    lanes: Lanes | None = None


@dataclass
class Memory:
    """The champion, looked for every few seconds, and the shards."""

    champion: Champion | None = None
    looked: float = 0.0
    shards: dict[int, Shard] = field(default_factory=dict)

    def fresh(self) -> bool:
        """Tell whether the champion was looked for a moment ago."""
        return time.monotonic() - self.looked < LOOKED

    def shard(self, number: int, *, batch: int, version: int) -> Shard:
        """Take out what is known of a shard, if it follows from just these batches; nothing else."""
        kept = self.shards.pop(number, None)
        if kept and (kept.batch, kept.version) == (batch, version):
            return kept
        return Shard(batch, version)

    def keep(self, number: int, shard: Shard, *, batch: int) -> None:
        """Keep what is known of a shard, once its scores are stored."""
        shard.batch = batch
        self.shards[number] = shard
