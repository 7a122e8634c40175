"""Times of the week, as people write them: `mon-fri 07:00-19:00`, `sat, sun`, `22:00-06:00`.

In: text, checked here. Out: whether a moment lies within, by the clock of a time zone, summer time included.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field

EXPECTED = "expected times of the week such as mon-fri 07:00-19:00, or sat, sun, or 22:00-06:00"
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = "|".join(_DAYS)
_PART = re.compile(
    rf"^(?:({_DAY})(?:-({_DAY}))?)?\s*(?:([0-2][0-9]):([0-5][0-9])-([0-2][0-9]):([0-5][0-9]))?$"
)
_DAY_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class _Span:
    """Some hours of some days; where `until` is not after `since`, they end on the next day. In minutes."""

    days: frozenset[int]
    since: int
    until: int

    def holds(self, local: datetime) -> bool:
        minute = local.hour * 60 + local.minute
        if self.since < self.until:
            return local.weekday() in self.days and self.since <= minute < self.until
        yesterday = (local - timedelta(days=1)).weekday()
        return (local.weekday() in self.days and minute >= self.since) or (
            yesterday in self.days and minute < self.until
        )


def within(text: str, moment: datetime, zone: str) -> bool:
    """Tell whether an aware `moment` lies in the times of the week `text`, by the clock of `zone`."""
    local = moment.astimezone(ZoneInfo(zone))
    return any(span.holds(local) for span in _spans(text))


def _spans(text: str) -> list[_Span]:
    return [_span(part.strip()) for part in text.lower().split(",")]


def _span(part: str) -> _Span:
    found = _PART.fullmatch(part)
    if not part or not found:
        raise ValueError(EXPECTED)
    first, last, *clock = found.groups()
    since, until = _minutes(*clock[:2]), _minutes(*clock[2:])
    if since is None or until is None:
        since, until = 0, _DAY_MINUTES
    if since >= _DAY_MINUTES or until > _DAY_MINUTES:
        raise ValueError("expected a time of day from 00:00 to 24:00")
    if since == until:
        raise ValueError("expected times that end at another time than they begin; all day is 00:00-24:00")
    return _Span(frozenset(_range(first, last)), since, until)


def _minutes(hour: str | None, minute: str | None) -> int | None:
    return None if hour is None or minute is None else int(hour) * 60 + int(minute)


def _range(first: str | None, last: str | None) -> list[int]:
    if first is None:
        return list(range(7))
    start = _DAYS.index(first)
    length = (_DAYS.index(last or first) - start) % 7 + 1
    return [(start + i) % 7 for i in range(length)]


def _checked(text: str) -> str:
    _spans(text)
    return text


Hours = Annotated[
    str, AfterValidator(_checked), Field(max_length=200, examples=["mon-fri 07:00-19:00", "22:00-06:00"])
]
