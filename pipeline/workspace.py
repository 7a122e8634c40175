"""What every step works with: the configs, the home, and the stores opened from them, each on first use."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

from pipeline.config.loader import Project, load_project
from pipeline.errors import ConfigError
from pipeline.home import Home
from pipeline.store.observations import ObservationStore
from pipeline.store.scores import ScoreStore

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipeline.config.models import Stream
    from pipeline.models.bundle import Bundle
    from pipeline.registry.registry import Registry


@dataclass(frozen=True)
class Workspace:
    """The configs as read now, and the home whose stores the steps read and write."""

    home: Home
    project: Project

    @classmethod
    def open(cls, home: Home | None = None) -> Self:
        """Find the home (`OFFBEAT_HOME`) and read its configs; a broken stream stays out, not the rest."""
        home = home or Home.find()
        return cls(home, load_project(home.configs))

    def stream(self, name: str) -> Stream:
        """Return a stream's config; ConfigError says what is wrong with it, or which name is near."""
        if name in self.project.streams:
            return self.project.streams[name]
        if name in self.project.broken:
            raise self.project.broken[name]
        near = difflib.get_close_matches(name, self.project.streams, n=1)
        known = ", ".join(sorted(self.project.streams)) or "none"
        raise ConfigError(
            f"no stream named {name!r}",
            file=str(self.home.configs / "streams"),
            expected=f"one of {known}",
            hint=f"did you mean {near[0]}?" if near else "",
        )

    def observations(self, stream: Stream) -> ObservationStore:
        """Open a stream's observations and rejects."""
        return ObservationStore(
            stream, self.home.table(stream.name, "observations"), self.home.table(stream.name, "rejects")
        )

    def scores(self, stream: Stream) -> ScoreStore:
        """Open a stream's scores."""
        return ScoreStore(self.home.table(stream.name, "scores"))

    @cached_property
    def database(self) -> Engine:
        """The SQL database of anomalies and alerts; its tables are made on first use."""
        from pipeline.store.database import open_database

        self.home.root.mkdir(parents=True, exist_ok=True)
        return open_database(self.home.database)

    @cached_property
    def bundles(self) -> dict[tuple[str, int], Bundle]:
        """Bundles that were loaded and verified, by stream and version."""
        return {}

    @cached_property
    def registry(self) -> Registry:
        """MLflow."""
        from pipeline.registry.registry import Registry

        return Registry(self.home.tracking, self.home.artifacts)
