"""From numbers since 1970 to microseconds. In: int64 or float64, and a unit. Out: microseconds and a mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Micros = NDArray[np.int64]
Mask = NDArray[np.bool_]

LAST = 253_402_300_799_999_999  # 9999-12-31, the last that a datetime can say
_PER_MICRO = {"s": 1_000_000, "ms": 1_000, "us": 1}
_UNITS = ("s", "ms", "us", "ns")
_BELOW = (1e11, 1e14, 1e17)  # where one unit ends under `auto`: each holds 1973 to 5138 alone
_N = TypeVar("_N", np.int64, np.float64)


def from_integers(values: NDArray[np.int64], unit: str) -> tuple[Micros, Mask]:
    """Convert exactly; what is below a microsecond is cut off.

    Under `auto`, 20240131 is refused: it may be a day or a second, and nobody should guess.
    """
    if unit == "auto":
        micros, ok = _by_size(values, from_integers)
        return micros, ok & ~_looks_like_a_day(values)
    if unit == "ns":
        return values // 1000, np.ones(len(values), bool)
    factor = _PER_MICRO[unit]
    ok = (values <= LAST // factor) & (values >= -(LAST // factor))
    return np.where(ok, values, 0) * factor, ok


def from_floats(values: NDArray[np.float64], unit: str) -> tuple[Micros, Mask]:
    """Convert, rounded to the nearest microsecond."""
    if unit == "auto":
        return _by_size(values, from_floats)
    with np.errstate(over="ignore", invalid="ignore"):
        micros = np.rint(values / 1000 if unit == "ns" else values * _PER_MICRO[unit])
        ok = np.abs(micros) <= LAST
    return np.where(ok, micros, 0).astype(np.int64), ok


def _by_size(
    values: NDArray[_N], convert: Callable[[NDArray[_N], str], tuple[Micros, Mask]]
) -> tuple[Micros, Mask]:
    """Tell each number's unit by its size; a column of one size, the rule, is converted in one go."""
    size = np.abs(values)
    unit = np.searchsorted(_BELOW, size, side="right")
    micros, ok = np.zeros(len(values), np.int64), np.zeros(len(values), bool)
    for place, name in enumerate(_UNITS):
        mask = unit == place
        if mask.all():
            return convert(values, name)
        if mask.any():
            micros[mask], ok[mask] = convert(values[mask], name)
    return micros, ok


def _looks_like_a_day(values: NDArray[np.int64]) -> Mask:
    month, day = values // 100 % 100, values % 100
    year = (values >= 1970_01_01) & (values <= 2099_12_31)
    return year & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
