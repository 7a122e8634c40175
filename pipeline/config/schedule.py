"""When things run: a cron line of five fields, one of Airflow's presets, a duration, or `never`. UTC.

In: text. Out: the same text, checked, or what it means. Checked here so that a slip shows in `offbeat check`
and not as a DAG that Airflow cannot import.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from pipeline.config.scalars import parse_duration

PRESETS = ("@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")
EXPECTED = "expected a cron line such as `0 3 * * *`, a duration such as 15m, or never"
SHORTEST = timedelta(seconds=10)
_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAY_NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = {m: i for i, m in enumerate(_MONTH_NAMES, 1)}
_DAYS = {d: i for i, d in enumerate(_DAY_NAMES)}
_FIELDS: tuple[tuple[str, int, int, Mapping[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)
_PART = re.compile(r"^(?:\*|([0-9a-z]{1,3})(?:-([0-9a-z]{1,3}))?)(?:/([0-9]{1,3}))?$")
_LONGEST_MONTH = dict(enumerate((31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), 1))


def parse_schedule(text: str) -> str | timedelta | None:
    """Return a cron line or preset as text, an interval as timedelta, and None for `never`.

    Raises:
        ValueError: it is none of these, or a cron line that never comes.
    """
    if text == "never":
        return None
    if text in PRESETS:
        return text
    if " " in text.strip():
        check_cron(text)
        return text
    return _interval(text)


def _interval(text: str) -> timedelta:
    try:
        every = parse_duration(text)
    except ValueError:
        raise ValueError(EXPECTED) from None
    if every < SHORTEST:
        raise ValueError("expected at least 10s between two runs")
    return every


def check_cron(text: str) -> None:
    """Check five fields (minute hour day month weekday), as croniter and so Airflow reads them.

    Raises:
        ValueError: a field is wrong, or no such day exists.
    """
    parts = text.lower().split()
    if len(parts) != len(_FIELDS):
        raise ValueError(f"expected five cron fields (minute hour day month weekday), found {len(parts)}")
    values = [_field(part, *field) for part, field in zip(parts, _FIELDS, strict=True)]
    _, _, days, months, _ = values
    if parts[4] == "*" and all(min(days) > _LONGEST_MONTH[m] for m in months):
        raise ValueError("expected a day that comes: no such day in these months")


def _field(text: str, what: str, low: int, high: int, names: Mapping[str, int]) -> set[int]:
    wrong = ValueError(f"expected a cron {what} from {low} to {high}, with * , - and /; found {text[:20]!r}")
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.match(part)
        if not match:
            raise wrong
        values = _span(match, low, high, names)
        if not values:
            raise wrong
        found |= values
    return found


def _span(match: re.Match[str], low: int, high: int, names: Mapping[str, int]) -> set[int]:
    """Return the values of one part of a field; none at all where it is wrong."""
    first, last, step = match[1], match[2], match[3]
    if step and (first is not None and last is None):
        return set()  # `5/15` means different things to different crons
    start = low if first is None else _number(first, names)
    stop = high if first is None else _number(last or first, names)
    every = int(step or 1)
    if not (low <= start <= stop <= high and 1 <= every <= high):
        return set()
    return set(range(start, stop + 1, every))


def _number(text: str, names: Mapping[str, int]) -> int:
    return names[text] if text in names else int(text) if text.isdecimal() else -1


def _checked(text: Any) -> Any:
    parse_schedule(text)
    return text


Schedule = Annotated[
    str, AfterValidator(_checked), Field(max_length=100, examples=["5m", "0 3 * * *", "never"])
]
