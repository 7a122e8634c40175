"""One version of a registered model, as the rest of Offbeat sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, PREVIOUS = "champion", "previous"
DIGEST = "offbeat.digest"
PREFIX = "offbeat."


@dataclass(frozen=True)
class Version:
    """A model version.

    Args:
        version: Number, from 1.
        run_id: The MLflow run that trained it.
        digest: SHA-256 of its bundle; empty if the version was not made by Offbeat.
        source: Where MLflow keeps its files.
        metrics: Last value of each metric of that run, system metrics left out.
        created: Aware, UTC.
        tags: The version's tags.
        aliases: Such as `champion` and `previous`.
    """

    version: int
    run_id: str
    digest: str
    source: str
    metrics: Mapping[str, float]
    created: datetime
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the bundle was stored whole before the version was made."""
        return bool(self.digest)


def model_name(stream: str) -> str:
    """Return the name of a stream's registered model, which is its experiment's too."""
    return f"{PREFIX}{stream}"


def stream_of(model: str) -> str:
    """Return the stream whose registered model has this name."""
    return model.removeprefix(PREFIX)


def read(raw: ModelVersion, metrics: Mapping[str, float]) -> Version:
    """Return MLflow's model version as ours."""
    return Version(
        version=int(raw.version),
        run_id=str(raw.run_id or ""),
        digest=raw.tags.get(DIGEST, ""),
        source=str(raw.source).rstrip("/"),
        metrics={k: v for k, v in metrics.items() if not k.startswith("system/")},
        created=datetime.fromtimestamp(raw.creation_timestamp / 1000, UTC),
        tags=dict(raw.tags),
        aliases=tuple(sorted(raw.aliases)),
    )
