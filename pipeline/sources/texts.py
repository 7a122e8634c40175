"""Names and categories from columns of any Arrow type. Out: trimmed text, what is missing, what is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.sources.numeric import Mask, mask

LONGEST = 256  # characters of a name: longer ones are garbage, and would fill pages and alerts


@dataclass(frozen=True)
class Texts:
    """`values` strings with nulls; masks over all rows."""

    values: pa.Array
    missing: Mask
    wrong: Mask


def texts(column: pa.Array) -> Texts:
    """Read a column as short text: trimmed, `""` is missing; whole numbers are names too."""
    if pa.types.is_dictionary(column.type):
        return _by_dictionary(column)
    if pa.types.is_string(column.type):
        return _from_strings(column)
    if pa.types.is_integer(column.type):
        return _from_strings(column.cast(pa.string()))
    if pa.types.is_floating(column.type):
        return _from_floats(column)
    if pa.types.is_binary(column.type):
        return _from_bytes(column)
    missing = mask(pc.is_null(column))
    return Texts(pa.nulls(len(column), pa.string()), missing, ~missing)


def _by_dictionary(column: pa.DictionaryArray) -> Texts:
    """Judge each distinct text once."""
    known = _from_strings(column.dictionary)
    index = column.indices
    if not (index.null_count or known.missing.any() or known.wrong.any()):
        none = np.zeros(len(column), bool)
        return Texts(known.values.take(index), none, none)
    null = mask(pc.is_null(index))
    at = pc.fill_null(index, 0).to_numpy(zero_copy_only=False)
    if not len(known.values):
        return Texts(pa.nulls(len(column), pa.string()), null, np.zeros(len(column), bool))
    return Texts(known.values.take(index), null | known.missing[at], ~null & known.wrong[at])


def _from_strings(column: pa.Array) -> Texts:
    text = pc.ascii_trim_whitespace(column)
    missing = mask(pc.fill_null(pc.equal(pc.binary_length(text), 0), True))
    long = pc.greater(pc.utf8_length(text), LONGEST)
    wrong = mask(pc.fill_null(pc.or_(long, pc.match_substring(text, "\0")), False))
    if missing.any():
        text = pc.if_else(pa.array(missing), pa.scalar(None, pa.string()), text)
    return Texts(text, missing, wrong)


def _from_bytes(column: pa.Array) -> Texts:
    """Old Parquet writers leave text unmarked; bytes that are not UTF-8 are no names."""
    decoded = [None if b is None else b.decode("utf-8", "replace") for b in column.to_pylist()]
    found = _from_strings(pa.array(decoded, pa.string()))
    wrong = mask(pc.fill_null(pc.match_substring(found.values, "\ufffd"), False))
    return Texts(found.values, found.missing, found.wrong | wrong)


def _from_floats(column: pa.Array) -> Texts:
    """Whole floats are what pandas makes of integer names beside a gap; others are no names."""
    values = pc.cast(column, pa.float64())
    missing = mask(pc.is_null(values, nan_is_null=True))
    floats = pc.fill_null(values, np.nan).to_numpy(zero_copy_only=False)
    whole = np.isfinite(floats) & (np.abs(floats) < 2**53) & (floats == np.rint(np.nan_to_num(floats)))
    integers = pa.array(np.where(whole, floats, 0).astype(np.int64), mask=~whole)
    return Texts(integers.cast(pa.string()), missing, ~missing & ~whole)
