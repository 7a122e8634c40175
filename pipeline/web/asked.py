"""What a request asks for, checked. In: query parameters. Out: names, times, stretches as steps take them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator

from pipeline import clock
from pipeline.config.models import Stream
from pipeline.errors import DataError
from pipeline.steps.series import CHANNELS, MOST_CHANNELS, MOST_POINTS, POINTS, Stretch, drawn

FIRST, LAST = datetime(1970, 1, 2, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def _utc(when: datetime) -> datetime:
    """Return a time as UTC; one without an offset is UTC already."""
    try:
        found = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except OverflowError:
        found = None
    if found is None or not FIRST <= found <= LAST:
        raise ValueError(f"a time from {FIRST.year} to {LAST.year} is expected")
    return found


def _text(value: str) -> str:
    """Refuse what no database takes."""
    if "\x00" in value or any("\ud800" <= c <= "\udfff" for c in value):
        raise ValueError("a text without NUL and lone surrogates is expected")
    return value


Text = Annotated[str, AfterValidator(_text)]
Name = Annotated[str, Path(max_length=64, pattern=r"^[A-Za-z0-9_]+$", description="A stream.")]
Id = Annotated[str, Path(max_length=32, pattern=r"^[A-Za-z0-9_-]+$", description="An anomaly.")]
Entity = Annotated[
    Text | None, Query(max_length=4096, description="A machine, a card; the worst by default.")
]
Moment = Annotated[datetime, AfterValidator(_utc)]
From = Annotated[Moment | None, Query(alias="from", description="Inclusive; UTC where no offset is said.")]
To = Annotated[Moment | None, Query(alias="to", description="Exclusive; the newest record by default.")]
Channels = Annotated[
    list[Annotated[Text, Query(max_length=256)]] | None,
    Query(max_length=MOST_CHANNELS, description="The first three by default."),
]
Points = Annotated[int, Query(ge=10, le=MOST_POINTS, description="Points of each series, at most.")]


def stretch(
    stream: Stream,
    newest: datetime | None,
    entity: str,
    start: datetime | None,
    end: datetime | None,
    channels: list[str] | None,
    points: int = POINTS,
) -> Stretch:
    """Return what to show of a stream; by default its last day, of cards their last month.

    Args:
        stream: whose entity it is.
        newest: time of its newest record.
        entity: whose series.
        start: inclusive, or None.
        end: exclusive, or None.
        channels: or None.
        points: at most.

    Raises:
        DataError: the end is not after the start.
    """
    last = (newest or clock.now()) + timedelta(milliseconds=1)
    wide = timedelta(days=1 if stream.kind == "sensor" else 30)
    end = end or (max(last, start + wide) if start else last)
    start = start or end - wide
    if start >= end:
        raise DataError(f"nothing lies from {start.isoformat()} to {end.isoformat()}: the end comes first")
    return Stretch(entity, start, end, tuple(dict.fromkeys(channels or drawn(stream)[:CHANNELS])), points)
