"""How far streams are behind their sources: asked of all at once, and none is waited for long.

In: a workspace. Out: by stream, how much its source has that is not stored yet, where the source can say.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from pipeline import log
from pipeline.errors import OffbeatError
from pipeline.sources import open_source
from pipeline.sources.source import ASK

if TYPE_CHECKING:
    from pipeline.workspace import Workspace

AT_ONCE = 32  # sources asked at once


@dataclass(frozen=True, slots=True)
class Lag:
    """What a source has that is not stored yet, in records or bytes."""

    count: int
    unit: str


class Lags:
    """Asks sources. One that has not answered by the next time is not asked again until it does."""

    def __init__(self) -> None:
        self._asking: set[str] = set()

    def ask(self, work: Workspace, names: Iterable[str]) -> dict[str, Lag]:
        """Return the lag of streams whose source can tell, and does so in time."""
        asked: SimpleQueue[str] = SimpleQueue()
        told: SimpleQueue[tuple[str, Lag | None]] = SimpleQueue()
        fresh = sorted(set(names) - self._asking)
        self._asking |= set(fresh)
        for name in fresh:
            asked.put(name)

        def work_off() -> None:
            with suppress(Empty):
                while True:
                    name = asked.get_nowait()
                    try:
                        told.put((name, _lag(work, name)))
                    finally:
                        self._asking.discard(name)

        crew = min(AT_ONCE, len(fresh))
        for _ in range(crew):
            threading.Thread(target=work_off, daemon=True).start()
        return _collected(told, len(fresh), ASK * math.ceil(len(fresh) / AT_ONCE))


def _collected(told: SimpleQueue[tuple[str, Lag | None]], count: int, seconds: float) -> dict[str, Lag]:
    found, ends = {}, time.monotonic() + seconds
    with suppress(Empty):
        for _ in range(count):
            name, lag = told.get(timeout=max(ends - time.monotonic(), 0.001))
            if lag is not None:
                found[name] = lag
    return found


def _lag(work: Workspace, name: str) -> Lag | None:
    """Ask one source; None where it cannot say, or is away."""
    try:
        stream = work.stream(name)
        position = work.observations(stream).state().position
        with open_source(stream, work.home.project) as source:
            count = source.behind(position)
            return None if count is None else Lag(count, source.unit)
    except OffbeatError as error:
        log.get().debug("no lag", stream=name, why=str(error))
        return None
