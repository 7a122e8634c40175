"""Reading rejects again, under today's config: what now passes becomes records, the rest stays as it was."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import clock
from pipeline.config.models import FilesSource, Stream
from pipeline.sources.conform import Conformer
from pipeline.sources.csv_format import CsvFormat
from pipeline.sources.json_format import JsonFormat
from pipeline.sources.messages import Message, MessageReader
from pipeline.sources.parsing import Format
from pipeline.sources.payloads import Found, Memory, Unread, decoder, unpacked
from pipeline.sources.source import REJECTED, Batch
from pipeline.sources.work import Work


def reparse(
    stream: Stream, rejects: pa.Table, position: Mapping[str, Any] | None = None, base: Path = Path()
) -> Batch:
    """Read stored rejects again.

    Args:
        stream: as configured now.
        rejects: rows as the store keeps them; columns of `REJECTED`, others are ignored.
        position: where the source stands: births that came later name the metrics of data before them.
        base: the project folder.

    Returns:
        The records that now pass, and the rejects that still do not: under their old ids, with today's
        reason, or as new ones, where a payload is read now and what it holds is wrong. `position` is empty:
        the source's own does not move.
    """
    conform = Conformer(stream)
    if "header" not in rejects.column_names:
        rejects = rejects.append_column("header", pa.nulls(len(rejects), pa.string()))
    rejects = rejects.select(REJECTED.names)
    payloads = pc.fill_null(pc.starts_with(rejects["header"], "{"), False)
    births = unpacked((position or {}).get("births", ""))
    found, left = _payloads(stream, conform, rejects.filter(payloads), births, base)
    records, still, rejects = [found], [left], rejects.filter(pc.invert(payloads))
    for header in pc.unique(rejects["header"]).to_pylist():
        match = pc.is_null(rejects["header"]) if header is None else pc.equal(rejects["header"], header)
        found, left = _again(_form(header, stream, conform), conform, rejects.filter(match))
        records.append(found)
        still.append(left)
    passed, left = pa.concat_tables(records), pa.concat_tables(still)
    return Batch(passed, left, len(passed) + len(left), {}, more=False)


def _payloads(
    stream: Stream, conform: Conformer, rejects: pa.Table, births: Memory, base: Path
) -> tuple[pa.Table, pa.Table]:
    """Read the payloads of messages, each by the births that the source knows, whatever the others say."""
    work = Work(rows=sys.maxsize, now=clock.now(), room=sys.maxsize)
    decode = decoder(stream, base) if len(rejects) else None

    def alone(source: str, payload: bytes, memory: Memory) -> Iterable[Found | Unread]:
        return decode(source, payload, dict(births)) if decode else ()

    reader = MessageReader(conform, alone if decode else None)
    messages = [
        Message(row["source"], row["position"], row["raw"], json.loads(row["header"]))
        for row in rejects.to_pylist()
    ]
    reader.take(messages, work)
    batch = work.batch(conform, {}, more=False)
    return batch.records, batch.rejects


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
