"""Whether something has come, told without taking any of it: what wakes an ingest.

In: a stream. Out: `Arrivals`, to be asked again and again. A yes too many costs an ingest that finds nothing.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pipeline import clock
from pipeline.config.models import FilesSource, HttpSource, KafkaSource, MqttSource, Stream
from pipeline.errors import ConfigError
from pipeline.sources.listing import files

if TYPE_CHECKING:
    from pipeline.sources.kafka import KafkaSource as Kafka


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


def open_arrivals(stream: Stream, base: Path) -> Arrivals:
    """Open what tells of arrivals; relative paths in the config are below `base`.

    Raises:
        ConfigError: the source is of a type that tells nobody.
    """
    match stream.source:
        case KafkaSource() as config:
            from pipeline.sources.kafka import KafkaSource as Opener

            return KafkaArrivals(Opener(stream, config, base))
        case MqttSource() as config:
            from pipeline.sources.mqtt_arrivals import MqttArrivals

            return MqttArrivals(stream, config, base)
        case FilesSource() as config:
            return FolderArrivals(base / config.path, config.pattern, config.settle)
        case HttpSource() as config:
            from pipeline.sources.inbox import SPAN, folder

            return FolderArrivals(folder(stream, config, base), "*.jsonl", 2 * SPAN)
    raise ConfigError(f"{stream.name}: a source of type {stream.source.type} tells nobody what has come")


class KafkaArrivals(Arrivals):
    """Asks the brokers where the partitions end.

    What was told is not told again until the store has moved on, or for `AGAIN` seconds.
    """

    def __init__(self, source: Kafka) -> None:
        self._source = source
        self._told: tuple[dict[str, Any], float] = ({}, -AGAIN)

    def some(self, position: Mapping[str, Any]) -> bool:
        """Compare with where the store stands."""
        if not self._source.waits(position):
            return False
        known, at = self._told
        if known == position and time.monotonic() - at < AGAIN:
            return False
        self._told = (dict(position), time.monotonic())
        return True

    def close(self) -> None:
        """Leave the brokers."""
        self._source.close()


class FolderArrivals(Arrivals):
    """Looks for files that are new or have changed since they were told of; at the first look, all of them.

    A file that was written to a moment ago is not read yet, and so not told of.
    """

    def __init__(self, folder: Path, pattern: str, settle: timedelta) -> None:
        self._folder, self._pattern, self._settle = folder, pattern, settle.total_seconds()
        self._told: dict[str, tuple[int, float]] = {}

    def some(self, position: Mapping[str, Any]) -> bool:
        """Compare with what was told."""
        if not self._folder.is_dir():
            return False  # nothing has ever come
        before, self._told = self._told, {}
        found, ripe = False, clock.now().timestamp() - self._settle
        for name, path in files(self._folder, self._pattern):
            mark = _mark(path)
            if mark[1] <= ripe:
                found |= before.get(name) != mark
                self._told[name] = mark
        return found


def _mark(path: Path) -> tuple[int, float]:
    try:
        found = path.stat()
    except OSError:  # gone meanwhile
        return 0, 0.0
    return found.st_size, found.st_mtime
