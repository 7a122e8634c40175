"""From rows that have columns already (Parquet, SQL) to records and rejects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from pipeline.sources.conform import Conformer, python_value
from pipeline.sources.rejects import RAW_LIMIT, Reject
from pipeline.sources.work import Work


def problem(what: str, names: Sequence[str], conform: Conformer) -> str | None:
    """Return what keeps every row of `what` from being a record; None where all wanted columns are there."""
    for want in conform.wanted:
        if names.count(want.column) != 1:
            have = "no such column" if want.column not in names else "several columns of that name"
            return f"{want.column}: {have}; the {what} has {', '.join(names[:12])}"
    return None


def take(
    source: str, batch: pa.RecordBatch, conform: Conformer, at: Sequence[int], wrong: str | None, work: Work
) -> None:
    """Add a batch's rows to `work`.

    Args:
        source: what the rejects are said to come from.
        batch: columns under their names in the source.
        conform: of the stream.
        at: each row's position in the source [N].
        wrong: what is wrong with all of them.
        work: takes records and rejects.
    """
    if wrong:
        reasons = dict.fromkeys(range(batch.num_rows), wrong)
    else:
        columns = {w.column: batch.column(w.column) for w in conform.wanted}
        found = conform(columns, batch.num_rows, work.now)
        work.records.append(found.records)
        reasons = found.reasons()
    for row, why in reasons.items():
        work.add(Reject(source, at[row], None, why, _raw(batch, row)))


def _raw(batch: pa.RecordBatch, row: int) -> bytes:
    """Return a row as JSON, which `reparse` reads."""
    cells = {name: python_value(batch.column(i)[row]) for i, name in enumerate(batch.schema.names)}
    return json.dumps(cells, default=_plain).encode()[:RAW_LIMIT]


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
