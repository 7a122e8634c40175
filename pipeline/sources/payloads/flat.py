"""From the values of a decoded record to what JSON can say, flat: a record inside a record is `outer.inner`.

Times become ISO 8601, or numbers where the stream says that its times are; booleans 1 and 0; bytes text;
what is no number (NaN) null. Lists stay lists: no column can hold one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from pipeline.config.models import Stream
from pipeline.sources.payloads.payload import Found
from pipeline.sources.times import micros

_MICROS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_DIGITS = 40  # of a decimal that is written as it is
_AS_THEY_ARE = (str, int, type(None))


class Flat:
    """Flattens the records of one stream."""

    def __init__(self, stream: Stream) -> None:
        self._unit = stream.fields.time.format
        self._plain: dict[type, Callable[[Any], Any]] = {
            bool: int,
            float: number,
            Decimal: _decimal,
            bytes: _text,
            datetime: self._moment,
            date: date.isoformat,
            time: time.isoformat,
            timedelta: timedelta.total_seconds,
            UUID: str,
            list: self._list,
            tuple: self._list,
            dict: self.__call__,
        }

    def __call__(self, record: Mapping[str, Any]) -> Found:
        """Return a record's values by column."""
        found: Found = {}
        self._add(record, "", found)
        return found

    def _add(self, record: Mapping[str, Any], within: str, found: Found) -> None:
        for name, value in record.items():
            kind = type(value)
            if kind in _AS_THEY_ARE:
                found[within + name] = value
            elif kind is dict:
                self._add(value, f"{within}{name}.", found)
            else:
                found[within + name] = self._plain.get(kind, str)(value)

    def _list(self, values: list[Any]) -> list[Any]:
        return [v if type(v) in _AS_THEY_ARE else self._plain.get(type(v), str)(v) for v in values]

    def _moment(self, value: datetime) -> str | int | float:
        """Return a time as those of the stream are written; without an offset it is in the stream's zone."""
        if self._unit in ("auto", "iso8601"):
            return value.isoformat()
        since = micros(value if value.tzinfo else value.replace(tzinfo=UTC))
        if self._unit == "ns":
            return since * 1000
        whole, rest = divmod(since, _MICROS[self._unit])
        return whole if not rest else since / _MICROS[self._unit]


def number(value: float) -> float | str | None:
    """Return a number that JSON has; infinity is none, and is told as what it is."""
    if math.isfinite(value):
        return value
    return None if math.isnan(value) else str(value)


def _decimal(value: Decimal) -> float | int | str | None:
    if not value.is_finite():
        return None if value.is_nan() else str(value)
    # an id may have more digits than a float
    whole = value.adjusted() < _DIGITS and value == value.to_integral_value()
    return int(value) if whole else number(float(value))


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
