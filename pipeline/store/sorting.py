"""Rows by entity, then time. Sorts one integer a row, not text, and moves one column at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def in_order(rows: pa.Table, schema: pa.Schema, key: Sequence[str]) -> pa.Table:
    """Return the columns of `schema` by entity, time, and then what else is in `key`."""
    order = _order(rows, [k for k in key if k not in ("entity", "time")])
    moved = {}
    for name in list(rows.column_names):
        if name in schema.names:
            moved[name] = rows[name] if order is None else rows[name].take(pa.array(order))
        rows = rows.drop_columns([name])  # frees it: the peak is one column above the result
    return pa.table([moved[n] for n in schema.names], names=schema.names).cast(schema)


def _order(rows: pa.Table, ties: list[str]) -> NDArray[np.int64] | None:
    """Return the places of rows in order; None where they are in order already."""
    codes, micros = _ranks(rows["entity"]), _micros(rows["time"])
    same = codes[1:] == codes[:-1]
    rising = (codes[1:] > codes[:-1]) | (same & (micros[1:] > micros[:-1]))
    if rising.all():
        return None
    order = np.lexsort((micros, codes))
    if not ties or not _repeats(codes[order], micros[order]):
        return order
    by = [(name, "ascending") for name in ("entity", "time", *ties)]
    return np.asarray(pc.sort_indices(rows, by).to_numpy(), np.int64)


def _repeats(codes: NDArray[np.int64], micros: NDArray[np.int64]) -> bool:
    return bool(((codes[1:] == codes[:-1]) & (micros[1:] == micros[:-1])).any())


def _ranks(entities: pa.ChunkedArray) -> NDArray[np.int64]:
    known = pc.unique(entities)
    known = known.take(pc.sort_indices(known))
    return np.asarray(pc.index_in(entities, value_set=known).to_numpy(), np.int64)


def _micros(times: pa.ChunkedArray) -> NDArray[np.int64]:
    return np.asarray(times.cast(pa.int64()).to_numpy(), np.int64)
