"""Arrivals: whether an ingest of a stream has something to read. Reads what is stored, and takes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pipeline.sources import open_arrivals

if TYPE_CHECKING:
    from pipeline.workspace import Workspace


class Arrivals:
    """What has come to stream `name` since the last commit; holds a connection while it is open."""

    def __init__(self, work: Workspace, name: str) -> None:
        stream = work.stream(name)
        self._store = work.observations(stream)
        self._source = open_arrivals(stream, work.home.project)

    def some(self) -> bool:
        """Say, within a second, whether there is something to ingest; what was told is not told again."""
        return self._source.some(self._store.state().position)

    def close(self) -> None:
        """Let go of connections."""
        self._source.close()

    def __enter__(self) -> Self:
        """Return it, closed when the block ends."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()
