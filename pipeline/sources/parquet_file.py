"""Parquet files: from a row number on. One without a valid footer may still be being written, and waits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.sources import columnar
from pipeline.sources.conform import Conformer
from pipeline.sources.marks import Entry
from pipeline.sources.place import Opened
from pipeline.sources.rejects import RAW_LIMIT
from pipeline.sources.work import STALE, Work

_SLICE = 65_536  # rows decoded at once, fewer where they are wide
_CELLS = 2_000_000
_BROKEN = (pa.ArrowException, OSError)


class ParquetReader:
    """Takes the rows of one open file; asked again, it goes on where it was, and decodes nothing twice."""

    packed = True

    def __init__(self, name: str, opened: Opened, conform: Conformer) -> None:
        self.name, self.opened, self.conform = name, opened, conform
        self._rows: Iterator[pa.RecordBatch] | None = None
        self._total = 0
        self._wrong: str | None = None
        self._left: pa.RecordBatch | None = None

    def read(self, entry: Entry, work: Work) -> Entry:
        """Take rows from `entry.offset` on, as many as the work may still hold."""
        try:
            with self.opened.guard():
                return self._read(entry, work)
        except PermissionError:
            raise
        except _BROKEN as error:
            return self._broken(entry, work, f"not a whole Parquet file: {str(error)[:200]}")

    def _read(self, entry: Entry, work: Work) -> Entry:
        rows = self._rows or self._begin(entry.offset)
        while not work.spent and (batch := self._left or next(rows, None)):
            taken = batch.slice(0, work.rows)
            self._left = batch.slice(taken.num_rows) if batch.num_rows > taken.num_rows else None
            at = range(entry.offset, entry.offset + taken.num_rows)
            columnar.take(self.name, taken, self.conform, at, self._wrong, work)
            work.took(taken.num_rows, taken.nbytes)
            entry = replace(entry, offset=entry.offset + taken.num_rows)
        return replace(entry, done=entry.offset >= self._total)

    def _begin(self, start: int) -> Iterator[pa.RecordBatch]:
        parquet = pq.ParquetFile(self.opened.file, pre_buffer=self.opened.remote)
        self._total = parquet.metadata.num_rows
        self._wrong = columnar.problem("file", parquet.schema_arrow.names, self.conform)
        self._rows = _batches(parquet, self.conform, start, apart=self.opened.remote)
        return self._rows

    def _broken(self, entry: Entry, work: Work, reason: str) -> Entry:
        """One that stays broken is one reject, so that nothing is left out in silence."""
        if not work.left_alone(self.opened.stat, STALE):
            return entry
        with self.opened.guard():
            head = self.opened.at(0, min(RAW_LIMIT, self.opened.stat.size))
        work.reject(self.name, entry.offset, None, reason, head)
        return replace(entry, done=True)


def _batches(
    parquet: pq.ParquetFile, conform: Conformer, start: int, *, apart: bool
) -> Iterator[pa.RecordBatch]:
    """Yield what follows row `start`; groups of rows before it are not decoded.

    Groups are read `apart`, one after another, where each is fetched at once: all would be the whole file.
    """
    groups = [parquet.metadata.row_group(i).num_rows for i in range(parquet.metadata.num_row_groups)]
    begins = np.cumsum([0, *groups])
    first = int(np.searchsorted(begins[1:], start, side="right"))
    skip = start - int(begins[first])
    names = [n for n in {w.column for w in conform.wanted} if n in parquet.schema_arrow.names]
    size = max(1, min(_SLICE, _CELLS // max(1, len(names))))
    left = list(range(first, len(groups)))
    for some in [[group] for group in left] if apart else [left]:
        for batch in parquet.iter_batches(size, row_groups=some, columns=names):
            drop = min(skip, batch.num_rows)
            skip -= drop
            if batch.num_rows > drop:
                yield batch.slice(drop)
