"""Parquet files: from a row number on. One without a valid footer may still be being written, and waits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.sources import columnar
from pipeline.sources.conform import Conformer
from pipeline.sources.marks import Entry
from pipeline.sources.rejects import RAW_LIMIT
from pipeline.sources.work import STALE, Work

_SLICE = 65_536  # rows decoded at once, fewer where they are wide
_CELLS = 2_000_000
_BROKEN = (pa.ArrowException, OSError)


def read_parquet(name: str, file: BinaryIO, conform: Conformer, entry: Entry, work: Work) -> Entry:
    """Take rows from `entry.offset` on, as many as the work may still hold."""
    try:
        parquet = pq.ParquetFile(file)
        entry = _read(name, parquet, conform, entry, work)
    except _BROKEN as error:
        return _broken(name, file, entry, work, f"not a whole Parquet file: {str(error)[:200]}")
    return entry


def _read(name: str, parquet: pq.ParquetFile, conform: Conformer, entry: Entry, work: Work) -> Entry:
    rows = parquet.metadata.num_rows
    wrong = columnar.problem("file", parquet.schema_arrow.names, conform)
    for batch in _batches(parquet, conform, entry.offset):
        if work.spent:
            break
        taken = batch.slice(0, work.rows)
        at = range(entry.offset, entry.offset + taken.num_rows)
        columnar.take(name, taken, conform, at, wrong, work)
        work.took(taken.num_rows, taken.nbytes)
        entry = replace(entry, offset=entry.offset + taken.num_rows)
    return replace(entry, done=entry.offset >= rows)


def _batches(parquet: pq.ParquetFile, conform: Conformer, start: int) -> Iterator[pa.RecordBatch]:
    """Yield what follows row `start`; groups of rows before it are not decoded."""
    groups = [parquet.metadata.row_group(i).num_rows for i in range(parquet.metadata.num_row_groups)]
    begins = np.cumsum([0, *groups])
    first = int(np.searchsorted(begins[1:], start, side="right"))
    skip = start - int(begins[first])
    names = [n for n in {w.column for w in conform.wanted} if n in parquet.schema_arrow.names]
    size = max(1, min(_SLICE, _CELLS // max(1, len(names))))
    for batch in parquet.iter_batches(size, row_groups=list(range(first, len(groups))), columns=names):
        drop = min(skip, batch.num_rows)
        skip -= drop
        if batch.num_rows > drop:
            yield batch.slice(drop)


def _broken(name: str, file: BinaryIO, entry: Entry, work: Work, reason: str) -> Entry:
    """One that stays broken is one reject, so that nothing is left out in silence."""
    if not work.left_alone(os.fstat(file.fileno()), STALE):
        return entry
    file.seek(0)
    work.reject(name, entry.offset, None, reason, file.read(RAW_LIMIT))
    return replace(entry, done=True)
