"""One read under way: what it may still take, what it took so far, and when it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from pipeline.sources.conform import Conformer
from pipeline.sources.place import Stat
from pipeline.sources.rejects import RAW_LIMIT, Reject, table
from pipeline.sources.source import Batch

BYTES = 64 << 20  # of files in one batch: rows may be wide, and memory is bounded
REJECT = 1 << 10  # bytes of memory that a reject takes beside its own
STALE = timedelta(hours=1)  # a broken file left alone so long will not be finished

Mark = tuple[int, int, int, int]


@dataclass
class Work:
    """A batch being filled, at most `rows` rows and about `bytes` bytes of them."""

    rows: int
    now: datetime
    room: int = BYTES
    records: list[pa.Table] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)

    @property
    def spent(self) -> bool:
        """Whether the batch is full."""
        return self.rows <= 0 or self.room <= 0

    def took(self, rows: int, size: int) -> None:
        """Count what was taken."""
        self.rows, self.room = self.rows - rows, self.room - size

    def add(self, reject: Reject) -> None:
        """Add a reject."""
        self.rejects.append(reject)
        self.room -= REJECT + len(reject.raw)

    def reject(self, source: str, position: int, line: int | None, reason: str, raw: bytes) -> None:
        """Add a reject that stands for more than a line, and so cannot be read again as one."""
        self.add(Reject(source, position, line, reason, raw[:RAW_LIMIT]))

    def left_alone(self, stat: Stat, span: timedelta) -> bool:
        """Say whether a file has not been written to for `span`."""
        return self.now.timestamp() - stat.mtime_ns / 1e9 >= span.total_seconds()

    def mark(self) -> Mark:
        """Return how much there is by now, for `undo`."""
        return len(self.records), len(self.rejects), self.rows, self.room

    def undo(self, mark: Mark) -> None:
        """Forget what was taken since `mark`."""
        records, rejects, self.rows, self.room = mark
        del self.records[records:], self.rejects[rejects:]

    def batch(self, conform: Conformer, position: dict[str, Any], *, more: bool) -> Batch:
        """Return what was taken, with the position after it."""
        records = pa.concat_tables(self.records) if self.records else conform.schema.empty_table()
        rejects = table(self.rejects, self.now)
        return Batch(records, rejects, records.num_rows + rejects.num_rows, position, more)
