"""Arrow columns as NumPy arrays: entity codes in name order, microseconds, floats without infinities.

In: a table of observations. Out: arrays of its rows, in the table's own order.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import DataError
from pipeline.prepare.series import Bools, Floats, Ints, Objects

HUGE = 1e150
"""Larger magnitudes are taken as this, so that sums and squares stay finite."""


def coded(table: pa.Table, name: str) -> tuple[Ints, list[str]]:
    """Return a code per row and the distinct texts that codes stand for, in sorted order."""
    column = _whole(_required(table, name))
    encoded = column if pa.types.is_dictionary(column.type) else pc.dictionary_encode(column)
    if encoded.null_count:
        raise DataError(f"{name} is missing in {encoded.null_count} rows")
    texts = np.asarray(encoded.dictionary.cast(pa.string()).to_pylist(), dtype=object)
    order = np.argsort(texts, kind="stable")
    rank = np.empty(len(texts), dtype=np.int64)
    rank[order] = np.arange(len(texts))
    codes = rank[encoded.indices.to_numpy(zero_copy_only=False)] if len(texts) else np.zeros(0, np.int64)
    return codes, list(texts[order])


def micros(table: pa.Table, name: str = "time") -> Ints:
    """Return a timestamp column as int64 microseconds UTC [N]."""
    column = _required(table, name)
    if column.null_count:
        raise DataError(f"{name} is missing in {column.null_count} rows")
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False).cast(pa.int64())
    return np.asarray(_whole(column).cast(pa.int64()).to_numpy(zero_copy_only=False), dtype=np.int64)


def floats(table: pa.Table, name: str) -> Floats:
    """Return a numeric column as float64 [N]: null and infinite are NaN; absent is all NaN."""
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    column = _whole(table.column(name)).cast(pa.float64(), safe=False)
    values = np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
    if not len(values) or np.nanmax(np.abs(values), initial=0.0) <= HUGE:
        return values
    return np.where(np.isfinite(values), np.clip(values, -HUGE, HUGE), np.nan)


def texts(table: pa.Table, name: str) -> Objects:
    """Return a text column as an object array [N]."""
    return np.asarray(_whole(_required(table, name)).cast(pa.string()).to_numpy(zero_copy_only=False))


def between(table: pa.Table, start: int | None, until: int | None) -> pa.Table:
    """Return the rows with start ≤ time < until."""
    if start is None and until is None:
        return table
    return table.filter(pa.array(_inside(micros(table), start, until)))


def _inside(time: Ints, start: int | None, until: int | None) -> Bools:
    inside = np.ones(len(time), dtype=np.bool_)
    if start is not None:
        inside &= time >= start
    if until is not None:
        inside &= time < until
    return inside


def _required(table: pa.Table, name: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise DataError(f"no column {name} among {', '.join(table.column_names)}")
    return table.column(name)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    if not isinstance(whole, pa.ChunkedArray):
        return whole
    return pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], whole.type)
