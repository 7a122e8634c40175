"""Numbers from columns of any Arrow type. Out: float64 values, what is missing, and what is wrong."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

# Spellings of "no reading". "NaN" and "nan" are two of them, so that a NaN never stands for a number.
NULLS = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "Null", "null", "None", "none", "\\N")
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Numbers:
    """`values` float64 with nulls; masks over all rows: `wrong` is where something else than a number is."""

    values: pa.Array
    missing: Mask
    wrong: Mask


def mask(column: pa.Array) -> Mask:
    """Return a boolean column without nulls as a numpy mask."""
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=bool)


def numbers(column: pa.Array) -> Numbers:
    """Read a column as finite numbers."""
    if pa.types.is_string(column.type):
        return _from_text(column)
    if pa.types.is_null(column.type):
        return _checked(pa.nulls(len(column), pa.float64()))
    if _numeric(column.type):
        return _checked(column if column.type == pa.float64() else pc.cast(column, pa.float64(), safe=False))
    missing = mask(pc.is_null(column))
    return Numbers(pa.nulls(len(column), pa.float64()), missing, ~missing)


def has_nan(column: pa.Array) -> bool:
    """Say whether a column of floats has NaN."""
    return bool(pa.types.is_floating(column.type) and pc.any(pc.is_nan(column)).as_py())


def _numeric(kind: pa.DataType) -> bool:
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return bool(is_number)


def _checked(values: pa.Array) -> Numbers:
    """NaN in a column of floats means missing; infinity is wrong."""
    none = np.zeros(len(values), bool)
    missing = mask(pc.is_null(values, nan_is_null=True)) if _gaps(values) else none
    wrong = mask(pc.fill_null(pc.is_inf(values), False)) if _infinite(values) else none
    if missing.any() and has_nan(values):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
    return Numbers(values, missing, wrong)


def _gaps(values: pa.Array) -> bool:
    return bool(values.null_count) or has_nan(values)


def _infinite(values: pa.Array) -> bool:
    return bool(pc.any(pc.is_inf(values)).as_py())


def _from_text(column: pa.Array) -> Numbers:
    text = pc.ascii_trim_whitespace(column)
    gone = pc.or_(pc.is_null(text), pc.fill_null(pc.is_in(text, pa.array(NULLS)), True))
    text, missing = pc.if_else(gone, pa.scalar(None, pa.string()), text), mask(gone)
    with suppress(pa.ArrowInvalid):
        whole = pc.cast(text, pa.float64())
        if not has_nan(whole):  # Arrow has more spellings of NaN than we take
            return Numbers(whole, missing, _checked(whole).wrong)
    fits = pc.fill_null(pc.match_substring_regex(text, NUMBER), False)
    digits = pc.if_else(fits, pc.ascii_ltrim(text, characters="+"), pa.scalar(None, pa.string()))
    found = _checked(pc.cast(digits, pa.float64()))
    return Numbers(found.values, missing, found.wrong | ~(missing | mask(fits)))
