"""The small values a YAML file is written in: durations, rates, schedules, names, times, references.

In: text as a person wrote it. Out: checked values; a ValueError says what was expected.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"
COLUMN = r"^[A-Za-z_][A-Za-z0-9_.\-]{0,127}$"
NAME_SHAPE = re.compile(NAME.replace("$", r"\Z"))
NAME_WORDS = "lower-case letters, digits, - and _, at most 63, with a letter or digit first"
LONGEST = timedelta(days=36525)
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"^([0-9]{1,12}(?:\.[0-9]{1,6})?)(us|ms|s|m|h|d|w)$")
_PERIODS = {"hour": 3600, "day": 86400, "week": 604800, "month": 2592000, "year": 31536000}
_RATE = re.compile(r"^([0-9]{1,9}(?:\.[0-9]{1,9})?)/(hour|day|week|month|year)$")


class Strict(BaseModel):
    """Frozen; unknown keys, wrong types, NaN and infinity are errors."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


def at(*where: str | int, problem: str) -> PydanticCustomError:
    """Return an error about values that do not go together, at `where` below the model that raises it."""
    return PydanticCustomError("together", "{problem}", {"problem": problem, "at": where})


def one_of(what: str, choices: tuple[str, ...]) -> PydanticCustomError:
    """Return an error about a value that is none of `choices`; the nearest becomes the hint."""
    return PydanticCustomError("choice", "expected {what}", {"what": what, "choices": choices})


def parse_duration(text: Any) -> timedelta:
    """Read `90s`, `5m`, `1h`, `7d`, `2w`, `250ms`; a hundred years at most."""
    if isinstance(text, timedelta):
        return text
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if not found:
        raise ValueError("expected a duration such as 90s, 5m, 1h, 7d or 2w")
    seconds = float(found[1]) * _UNITS[found[2]]
    if seconds > LONGEST.total_seconds():
        raise ValueError("expected a duration of at most 100 years")
    return timedelta(seconds=seconds)


def parse_patience(text: Any) -> timedelta | str:
    """Read `auto`, `never`, or a duration longer than zero."""
    if text in ("auto", "never"):
        return str(text)
    try:
        return _positive(parse_duration(text))
    except ValueError:
        raise ValueError("expected auto, never, or a duration such as 30m") from None


def format_patience(value: timedelta | str) -> str:
    """Write what `parse_patience` reads."""
    return value if isinstance(value, str) else format_duration(value)


def format_duration(value: timedelta) -> str:
    """Write a duration in its largest whole unit: the inverse of `parse_duration`."""
    micros = value // timedelta(microseconds=1)
    for unit in ("w", "d", "h", "m", "s", "ms"):
        size = round(_UNITS[unit] * 1e6)
        if micros % size == 0:
            return f"{micros // size}{unit}"
    return f"{micros}us"


def parse_lookback(value: Any) -> int | timedelta:
    """Read a whole number, or a duration such as `5m`."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise ValueError("expected a number that is not below 0, or a duration")
        return value
    return parse_duration(value)


def format_lookback(value: int | timedelta) -> int | str:
    """Write a look-back the way `parse_lookback` reads it."""
    return value if isinstance(value, int) else format_duration(value)


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("expected a duration longer than zero")
    return value


class Rate(Strict):
    """So many in so long: `1/week`."""

    count: float
    seconds: float

    @classmethod
    def parse(cls, text: Any) -> Rate:
        """Read `1/week`, `20/day`, `0.5/hour`."""
        if isinstance(text, Rate):
            return text
        found = _RATE.fullmatch(text) if isinstance(text, str) else None
        if not found or float(found[1]) <= 0:
            raise ValueError("expected a rate such as 1/week, 20/day or 2/hour")
        return cls(count=float(found[1]), seconds=float(_PERIODS[found[2]]))

    def __str__(self) -> str:
        period = next(k for k, v in _PERIODS.items() if v == self.seconds)
        return f"{self.count:g}/{period}"

    @property
    def per_second(self) -> float:
        """The rate per second."""
        return self.count / self.seconds


def check_zone(name: str) -> str:
    """Return `name` when it is an IANA time zone."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        known = tuple(sorted(available_timezones()))
        raise one_of("an IANA time zone such as UTC or Europe/Berlin", known) from None
    return name


def check_time(text: str) -> str:
    """Return `text` when it is an ISO 8601 date or time; without an offset it means UTC."""
    try:
        parse_time(text)
    except (ValueError, OverflowError):
        raise ValueError("expected an ISO 8601 time such as 2026-03-01 or 2026-03-01T06:00+01:00") from None
    return text


def parse_time(text: str) -> datetime:
    """Read an ISO 8601 date or time as an aware datetime in UTC; without an offset it means UTC."""
    time = datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)


@dataclass(frozen=True)
class Reference:
    """Marks a text in which `${env:NAME}` and `${connection:NAME}` mean something."""

    kind: Literal["path", "address", "database", "service", "secret"]
    """`path`: no secret. `address`: a web address without credentials may stand in clear. `database`: an
    SQLAlchemy URL, in clear only without a password. `service`: an Apprise URL, in clear only where it is a
    mere address. `secret`: a reference and nothing else."""


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _DURATION.pattern, "examples": ["90s", "5m", "7d"]}),
]
Positive = Annotated[Duration, AfterValidator(_positive)]
Patience = Annotated[
    timedelta | Literal["auto", "never"],
    BeforeValidator(parse_patience),
    PlainSerializer(format_patience, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": f"^(auto|never|{_DURATION.pattern[1:-1]})$",
            "examples": ["auto", "30m", "never"],
        }
    ),
]
Lookback = Annotated[
    int | timedelta,
    BeforeValidator(parse_lookback),
    PlainSerializer(format_lookback, return_type=int | str),
    WithJsonSchema(
        {
            "type": ["integer", "string"],
            "minimum": 0,
            "pattern": _DURATION.pattern,
            "examples": [1000, "5m"],
        }
    ),
]
Budget = Annotated[
    Rate,
    BeforeValidator(Rate.parse),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _RATE.pattern, "examples": ["1/week", "20/day"]}),
]
Name = Annotated[str, Field(pattern=NAME)]
Column = Annotated[str, Field(pattern=COLUMN)]
SourceColumn = Annotated[str, Field(min_length=1, max_length=128)]
Zone = Annotated[str, AfterValidator(check_zone)]
Time = Annotated[str, AfterValidator(check_time)]
SecretText = Annotated[
    str,
    Reference("secret"),
    Field(min_length=1, json_schema_extra={"pattern": r"^\$\{(env|connection):[^{}]+\}$"}),
]
