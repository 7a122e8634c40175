"""Whether something has come, told without taking any of it: what wakes an ingest.

In: a source and where its store stands. Out: yes or no, asked again and again. A yes too many costs an ingest
that finds nothing.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self

from pipeline.errors import ConfigError
from pipeline.sources.source import Source

AGAIN = 60.0  # seconds


class Arrivals(ABC):
    """What may come to one stream."""

    @abstractmethod
    def some(self, position: Mapping[str, Any]) -> bool:
        """Say, within a second, whether an ingest that has stored `position` has something to read.

        Raises:
            Unavailable: who should know does not answer.
            ConfigError: the source refuses us.
        """

    def close(self) -> None:  # noqa: B027 - most hold nothing open
        """Let go of connections."""

    def __enter__(self) -> Self:
        """Return the arrivals, closed when the block ends."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close them."""
        self.close()


class Behind(Arrivals):
    """Asks the source how much it has that is not stored.

    What was told is not told again until the store has moved on, or for `AGAIN` seconds.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._told: tuple[dict[str, Any], float] = ({}, -AGAIN)

    def some(self, position: Mapping[str, Any]) -> bool:
        """Compare with where the store stands.

        Raises:
            Unavailable: who should know does not answer.
            ConfigError: the source refuses us, or cannot say what has come.
        """
        if (waiting := self._source.behind(position)) is None:
            raise ConfigError(
                "this source does not say what has come", key="schedules.wake", expected="false"
            )
        if not waiting:
            return False
        known, at = self._told
        if known == position and time.monotonic() - at < AGAIN:
            return False
        self._told = (dict(position), time.monotonic())
        return True

    def close(self) -> None:
        """Close the source."""
        self._source.close()
