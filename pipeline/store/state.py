"""How far a stream's ingest has come: position, totals and batch, kept in the table's own commits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from deltalake import DeltaTable

from pipeline.errors import DataError

APP = "offbeat.ingest"  # application transaction of ingest: its version is the batch


@dataclass(frozen=True)
class Totals:
    """Records since the stream began: received = stored + duplicate + rejected, always.

    Of those stored, `late` came when a newer one of their entity was stored already; `too_late` of these were
    further behind it than the stream's `lateness`.
    """

    received: int = 0
    stored: int = 0
    duplicate: int = 0
    rejected: int = 0
    late: int = 0
    too_late: int = 0

    def plus(self, *, stored: int, duplicate: int, rejected: int, late: int = 0, too_late: int = 0) -> Totals:
        """Return the totals after one more batch."""
        return Totals(
            self.received + stored + duplicate + rejected,
            self.stored + stored,
            self.duplicate + duplicate,
            self.rejected + rejected,
            self.late + late,
            self.too_late + too_late,
        )


@dataclass(frozen=True)
class State:
    """Where ingest stands after `batch` commits. `watermark` is the newest time stored, UTC."""

    position: dict[str, Any] = field(default_factory=dict)
    totals: Totals = Totals()
    batch: int = 0
    watermark: datetime | None = None

    def metadata(self) -> dict[str, str]:
        """Return what a commit carries."""
        return {
            "offbeat.batch": str(self.batch),
            "offbeat.position": json.dumps(self.position, separators=(",", ":")),
            "offbeat.totals": json.dumps(asdict(self.totals)),
            "offbeat.watermark": self.watermark.isoformat() if self.watermark else "",
        }


def read(table: DeltaTable) -> State:
    """Return the state that the newest ingest left.

    The batch comes from the table itself; position and totals from the newest commit that speaks of that
    batch. Commits of others (an OPTIMIZE from outside, a maintenance that began earlier) stand between.
    Raises DataError where no commit speaks of it any more.
    """
    batch = table.transaction_version(APP)
    if not batch:
        return State()
    seen = 0
    for depth in (1, 16, 256, None):
        commits = table.history(depth)
        for commit in commits[seen:]:
            if commit.get("offbeat.batch") == str(batch):
                return _state(commit, batch)
        seen = len(commits)
    raise DataError(
        f"{table.table_uri}: no commit says how far batch {batch} had read; the log was cut short by another"
        " tool. Move the table away to read the source again"
    )


def _state(commit: Mapping[str, Any], batch: int) -> State:
    mark = commit["offbeat.watermark"]
    return State(
        json.loads(commit["offbeat.position"]),
        Totals(**json.loads(commit["offbeat.totals"])),
        batch,
        datetime.fromisoformat(mark) if mark else None,
    )
