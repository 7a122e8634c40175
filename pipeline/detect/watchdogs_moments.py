"""Microseconds of the watchdogs as moments and spans of time, UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(us: int) -> datetime:
    """Return microseconds since 1970 as an aware time, UTC."""
    return _EPOCH + timedelta(microseconds=us)


def span(us: int) -> timedelta:
    """Return microseconds as a length of time."""
    return timedelta(microseconds=us)
