"""Records as the watchdogs take them: by entity, times in microseconds, one array a channel."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pipeline.config.models import SensorStream
from pipeline.detect.watchdogs import Readings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.config.models import Stream


def columns_of(stream: Stream) -> list[str]:
    """Return the columns of a record that a look needs; none where no record need be looked at."""
    names = [*stream.limits]
    if isinstance(stream, SensorStream):
        names = [*stream.channels] if stream.watch.flatline != "never" else names
        return ["entity", "time", *names]
    if names:
        return ["id", "entity", "time", *names]
    return ["entity", "time"] if stream.watch.silence != "never" else []


def coded(records: pa.Table) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """Return the entities of records in their order, where each begins [E + 1], and all times in us [N]."""
    encoded = records["entity"].combine_chunks()
    encoded = encoded.dictionary_encode() if len(records) else pa.array([], pa.string()).dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    begins = np.append(np.flatnonzero(np.diff(codes, prepend=-1)), len(codes)).astype(np.int64)
    return encoded.dictionary.to_pylist(), begins, records["time"].cast(pa.int64()).to_numpy()


def readings(stream: Stream, records: pa.Table) -> dict[str, Readings]:
    """Split records in order of entity and time by entity."""
    names, begins, time = coded(records)
    channels = [c for c in stream.channels if c in records.column_names]
    values = {c: floats(records, c) for c in channels}
    ids = records["id"].to_numpy() if "id" in records.column_names else None
    spans = [slice(a, b) for a, b in pairwise(begins)]
    return {
        name: Readings(time[at], {c: v[at] for c, v in values.items()}, None if ids is None else ids[at])
        for name, at in zip(names, spans, strict=True)
    }


def floats(records: pa.Table, name: str) -> NDArray[np.float64]:
    """Return a channel as floats [N], NaN where it was not measured."""
    return np.asarray(records[name].to_numpy(), np.float64)


def groups(channels: Sequence[str], size: int) -> list[list[str]]:
    """Return channels some at a time."""
    return [list(channels[i : i + size]) for i in range(0, len(channels), size)]
