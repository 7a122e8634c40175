"""The only caller of now(). Everything else is handed the time, in UTC."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

_frozen: list[datetime] = []


def now() -> datetime:
    """Return the current time, aware, in UTC; `OFFBEAT_NOW` (ISO 8601) or `frozen` set it."""
    if _frozen:
        return _frozen[-1]
    fixed = os.environ.get("OFFBEAT_NOW")
    return datetime.fromisoformat(fixed).astimezone(UTC) if fixed else datetime.now(UTC)


@contextmanager
def frozen(at: datetime) -> Iterator[None]:
    """Hold the clock at `at` (aware) inside the block."""
    _frozen.append(at.astimezone(UTC))
    try:
        yield
    finally:
        _frozen.pop()
