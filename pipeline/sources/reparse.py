"""Reading rejects again, under today's config: what now passes becomes records, the rest stays as it was."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import clock
from pipeline.config.models import FilesSource, Stream
from pipeline.sources.conform import Conformer
from pipeline.sources.csv_format import CsvFormat
from pipeline.sources.json_format import JsonFormat
from pipeline.sources.parsing import Format
from pipeline.sources.source import REJECTED, Batch


def reparse(stream: Stream, rejects: pa.Table) -> Batch:
    """Read stored rejects again.

    Args:
        stream: as configured now.
        rejects: rows as the store keeps them; columns of `REJECTED`, others are ignored.

    Returns:
        The records that now pass, and the rejects that still do not: under their old ids, with today's
        reason. `position` is empty: the source's own does not move.
    """
    conform = Conformer(stream)
    records, still = [conform.schema.empty_table()], []
    if "header" not in rejects.column_names:
        rejects = rejects.append_column("header", pa.nulls(len(rejects), pa.string()))
    rejects = rejects.select(REJECTED.names)
    for header in pc.unique(rejects["header"]).to_pylist():
        match = pc.is_null(rejects["header"]) if header is None else pc.equal(rejects["header"], header)
        found, left = _again(_form(header, stream, conform), conform, rejects.filter(match))
        records.append(found)
        still.append(left)
    left = pa.concat_tables([REJECTED.empty_table(), *still])
    return Batch(pa.concat_tables(records), left, len(rejects), {}, more=False)


def _form(header: str | None, stream: Stream, conform: Conformer) -> Format:
    if header is None:
        return JsonFormat(conform.wanted)
    delimiter = stream.source.delimiter if isinstance(stream.source, FilesSource) else ","
    return CsvFormat(json.loads(header), conform.wanted, delimiter)


def _again(form: Format, conform: Conformer, rejects: pa.Table) -> tuple[pa.Table, pa.Table]:
    columns, kept, reasons = form.careful(rejects["raw"].to_pylist())
    found = conform(columns, len(kept), clock.now())
    reasons |= {kept[row]: why for row, why in found.reasons().items()}
    rows = sorted(reasons)
    left = rejects.take(pa.array(rows, pa.int64()))
    where = left.schema.get_field_index("reason")
    return found.records, left.set_column(
        where, REJECTED.field("reason"), pa.array([reasons[i] for i in rows], pa.string())
    )
