"""The Arrow schemas that pass between rooms, and that the tables on disk have.

Times are microseconds, UTC. `date` is the UTC day of `time`, and the partition of every table.
"""

from __future__ import annotations

import pyarrow as pa

from pipeline.config.models import SensorStream, Stream

TIME = pa.timestamp("us", tz="UTC")


def records(stream: Stream) -> pa.Schema:
    """Return what a source hands on: the stream's own columns, under their final names."""
    if isinstance(stream, SensorStream):
        columns = [pa.field("entity", pa.string(), nullable=False), pa.field("time", TIME, nullable=False)]
        return pa.schema(columns + [pa.field(c, pa.float64()) for c in stream.channels])
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("entity", pa.string(), nullable=False),
            pa.field("time", TIME, nullable=False),
            pa.field("amount", pa.float64(), nullable=False),
            *(pa.field(c, pa.string()) for c in stream.fields.categories),
            *([pa.field("label", pa.float64())] if stream.fields.label else []),
        ]
    )


def key(stream: Stream) -> tuple[str, ...]:
    """Return the columns that make two records the same record."""
    return ("entity", "time") if isinstance(stream, SensorStream) else ("id",)


def observations(stream: Stream) -> pa.Schema:
    """Return a record as stored: its day, and the batch (ingest commit) that brought it."""
    stored = records(stream).append(pa.field("date", pa.date32(), nullable=False))
    return stored.append(pa.field("batch", pa.int64(), nullable=False))


REJECTS = pa.schema(
    [
        pa.field("reject", pa.string(), nullable=False),  # stable id of source, position and raw
        pa.field("source", pa.string(), nullable=False),  # file, topic, table
        pa.field("position", pa.int64(), nullable=False),  # byte offset or row number in it
        pa.field("line", pa.int64()),  # 1-based, where there are lines
        pa.field("reason", pa.string(), nullable=False),
        pa.field("raw", pa.binary(), nullable=False),
        pa.field("rejected_at", TIME, nullable=False),
        pa.field("date", pa.date32(), nullable=False),  # day of rejected_at
        pa.field("batch", pa.int64(), nullable=False),
    ]
)

CONTRIBUTION = pa.struct(
    [
        pa.field("channel", pa.string()),
        pa.field("share", pa.float32()),  # of the joint error, 0 to 1
        pa.field("expected", pa.float64()),  # in the channel's own unit
        pa.field("actual", pa.float64()),
    ]
)

SCORES = pa.schema(
    [
        pa.field("entity", pa.string(), nullable=False),
        pa.field("time", TIME, nullable=False),
        pa.field("id", pa.string()),  # of the transaction; null for sensors
        pa.field("score", pa.float32()),  # 1 = threshold; null in a gap
        pa.field("raw", pa.float32()),  # before smoothing, on the same scale
        pa.field("flag", pa.bool_(), nullable=False),
        pa.field("contributions", pa.list_(CONTRIBUTION)),  # the three largest, largest first
        pa.field("version", pa.int32(), nullable=False),  # of the model that scored
        pa.field("date", pa.date32(), nullable=False),
    ]
)
