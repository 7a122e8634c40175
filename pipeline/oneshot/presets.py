"""How hard to try, and what fits a table's size and pace where nobody said.

In: a preset's name, how many rows there are and how far apart. Out: parts of a stream's configuration.
"""

from __future__ import annotations

import re
from typing import Any

from pipeline.config.models import Rate, Window

PRESETS: dict[str, dict[str, Any]] = {
    "fast": {"epochs": 4, "max_windows": 1500},
    "default": {"epochs": 25, "max_windows": 4000},
    "best": {"epochs": 60, "max_windows": 50000, "patience": 8},
}
"""Fields of a stream's `model`, by preset."""

OFTEN, SELDOM = 1_000, 100_000
"""Unless told otherwise, one false alarm comes in no fewer and no more rows than these."""
LEAST_HELD_OUT, MOST_SHARE = 60, 0.6
"""Rows that calibration must have, and the largest share of a history that they may take."""
WISHED_FOR, SHARE = 120, 0.375
"""Rows that it should have, where they take no larger share."""
LOOKAHEAD = 128
"""Later rows that smoothing may wait for: a file is all there, so that waiting costs nothing."""
WINDOWS_A_HISTORY = 16
"""A window is at most this part of the rows learned from."""
MERGE_STEPS = 10
"""Flags at most so many steps apart are one anomaly."""
_HOUR, _DAY, _YEAR = 3_600.0, 86_400.0, 31_536_000.0
_PER_ROWS = re.compile(r"^([0-9]{1,9}(?:\.[0-9]{1,9})?)/([0-9]{1,9}) ?rows?$")


def window(rows: int) -> dict[str, int]:
    """Return `window` for sensors of which the longest has `rows` rows to learn from."""
    usual = Window()
    length = min(usual.length, max(4, rows // WINDOWS_A_HISTORY))
    if length == usual.length:
        return {"lookahead": LOOKAHEAD}
    delay = min(usual.delay, length - 1)
    return {"length": length, "stride": 1, "delay": delay, "lookahead": LOOKAHEAD}


def holdout(rows: int, length: int, usual: float) -> float:
    """Return `training.holdout`: of a short history a larger share, so that calibration has rows enough."""
    least, wished = ((most + length) / max(rows, 1) for most in (LEAST_HELD_OUT, WISHED_FOR))
    return max(usual, min(MOST_SHARE, least), min(SHARE, wished))


def usual_budget(rows_per_second: float) -> Rate:
    """Return one false alarm a day, but one in 1,000 rows at most and one in 100,000 at least."""
    return rate(min(max(1 / _DAY, rows_per_second / SELDOM), rows_per_second / OFTEN))


def budget(text: str | None, rows_per_second: float, *, real: bool) -> Rate:
    """Read an alert budget: `1/day` and its like, or `1/1000 rows`.

    Args:
        text: what was asked for; None for what is usual.
        rows_per_second: of the whole table.
        real: whether its time is a clock's; by a counter the usual is one in 1,000 rows.

    Raises:
        ValueError: it is neither; says what was expected.
    """
    if text is None:
        return usual_budget(rows_per_second) if real else rate(rows_per_second / OFTEN)
    if found := _PER_ROWS.fullmatch(text):
        count, rows = float(found[1]), int(found[2])
        if count > 0 and rows > 0:
            return rate(count / rows * rows_per_second)
    try:
        return Rate.parse(text)
    except ValueError:
        raise ValueError("expected a rate such as 1/day, 20/week or 1/1000 rows") from None


def rate(per_second: float) -> Rate:
    """Write a rate as a stream's YAML could: so many a day; a year, or an hour, where a day does not fit."""
    seconds = next((s for s in (_DAY, _YEAR) if per_second * s >= 0.01), _YEAR)
    seconds = _HOUR if per_second * seconds >= 1e5 else seconds
    return Rate(count=float(f"{min(max(per_second * seconds, 1e-4), 999_900.0):.4g}"), seconds=seconds)
