"""Which score rows are stored already, and which of those say something else now."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

KEY = ("entity", "time", "id", "version")
TOLERANCE = 1e-6  # scores of one record computed in other batches differ by less

Mask = NDArray[np.bool_]


def matched(rows: pa.Table, stored: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Return the places of rows with equal keys: in `rows`, and beside each its place in `stored`."""
    pairs = _keys(rows, "new").join(_keys(stored, "old"), list(KEY), join_type="inner")
    pairs = pairs.sort_by("new")
    return pairs["new"].combine_chunks(), pairs["old"].combine_chunks()


def unlike(left: pa.Table, right: pa.Table) -> pa.Array:
    """Return, for tables of equal keys row by row, which rows differ beyond tolerance."""
    differ = _apart(left["score"], right["score"]) | _apart(left["raw"], right["raw"])
    differ |= pc.not_equal(left["flag"], right["flag"]).to_numpy()
    differ |= _lists_differ(left["contributions"].combine_chunks(), right["contributions"].combine_chunks())
    return pa.array(differ)


def _keys(rows: pa.Table, place: str) -> pa.Table:
    """Return keys that join: a join never finds null, which an id may be."""
    keys = rows.select(list(KEY))
    ids = pc.fill_null(pc.binary_join_element_wise("=", keys["id"], ""), "")
    keys = keys.set_column(keys.schema.get_field_index("id"), "id", ids)
    return keys.append_column(place, pa.array(np.arange(len(rows))))


def _lists_differ(left: pa.ListArray, right: pa.ListArray) -> Mask:
    lengths = [
        pc.fill_null(pc.list_value_length(a), -1).to_numpy(zero_copy_only=False) for a in (left, right)
    ]
    differ: Mask = lengths[0] != lengths[1]
    alike = np.flatnonzero(~differ)
    ours, theirs = left.take(pa.array(alike)), right.take(pa.array(alike))
    row = pc.list_parent_indices(ours).to_numpy(zero_copy_only=False)
    differ[alike[row[_items_differ(pc.list_flatten(ours), pc.list_flatten(theirs))]]] = True
    return differ


def _items_differ(left: pa.StructArray, right: pa.StructArray) -> Mask:
    differ = pc.fill_null(pc.not_equal(left.field("channel"), right.field("channel")), True)
    found: Mask = np.array(differ.to_numpy(zero_copy_only=False), bool)
    for name in ("share", "expected", "actual"):
        found |= _apart(left.field(name), right.field(name))
    return found


def _apart(left: pa.ChunkedArray | pa.Array, right: pa.ChunkedArray | pa.Array) -> Mask:
    """Return which numbers differ; null and NaN are alike."""
    ours, theirs = (_numpy(values) for values in (left, right))
    return ~np.isclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


def _numpy(values: pa.ChunkedArray | pa.Array) -> NDArray[np.float64]:
    column = pc.fill_null(values.cast(pa.float64()), np.nan)
    return np.asarray(column.to_numpy() if isinstance(column, pa.ChunkedArray) else column, np.float64)
