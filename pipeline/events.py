"""What passes between detection, the store and alerts: events, anomalies, deliveries.

Neutral ground between rooms that do not import each other: `detect` makes events, `store` records
them as anomalies, `alerts` tells people. Every time here is aware, UTC.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from pipeline.config.models import Stream, TransactionStream

SEVERITIES = ("low", "medium", "high", "critical")
RECONSTRUCTION, SILENCE, FLATLINE, LATE, RANGE = "reconstruction", "silence", "flatline", "late", "range"
KINDS = (RECONSTRUCTION, SILENCE, FLATLINE, LATE, RANGE)
"""What found an anomaly: the model, or one of the watchdogs."""


def digest(*parts: str) -> str:
    """Return a short stable name for some text, unambiguous about where the parts end."""
    joined = "".join(f"{len(p)}:{p}" for p in parts)
    return hashlib.sha256(joined.encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Contribution:
    """One channel's part in an event.

    share is 0..1 of the joint error; expected and actual are in the channel's own unit at the peak,
    None where a number means nothing (a category, a gap).
    """

    channel: str
    share: float
    expected: float | None
    actual: float | None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """A run of flagged points of one entity; times are aware UTC, peak_score is 1 at the threshold.

    severity is low, medium, high or critical; open means it had not ended at the watermark;
    ids are the transactions it covers (empty for sensors); channels come largest share first.
    kind is one of `KINDS`; usual is, for a watchdog that learned it, how long what it watches usually
    takes: from one record to the next, at one value, until the newest record comes.
    """

    entity: str
    start: datetime
    end: datetime
    peak: datetime
    peak_score: float
    severity: str
    channels: tuple[Contribution, ...]
    open: bool
    ids: tuple[str, ...] = ()
    kind: str = RECONSTRUCTION
    usual: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """What a run knows about every anomaly it finds."""

    stream_kind: str = "sensor"
    noun: str = ""
    """What an entity is called: `card`, `seller`; empty for sensors, whose name says enough."""
    units: Mapping[str, str] = field(default_factory=dict)
    merge: timedelta = timedelta(0)
    version: int | None = None
    run: str | None = None
    """MLflow run that trained the version."""
    airflow_run: str | None = None
    """`<dag id>/<run id>` of the Airflow run that scored."""

    @classmethod
    def of(
        cls,
        stream: Stream,
        *,
        version: int | None = None,
        run: str | None = None,
        airflow_run: str | None = None,
    ) -> Self:
        """Take from the stream's configuration what alerts need to speak its words and units."""
        noun = stream.fields.entity if isinstance(stream, TransactionStream) else ""
        return cls(
            stream_kind=stream.kind,
            noun=noun.removesuffix("_id").replace("_", " "),
            units=stream.units,
            merge=stream.alert.merge,
            version=version,
            run=run,
            airflow_run=airflow_run,
        )


@dataclass(frozen=True, slots=True)
class Anomaly:
    """An event as recorded: it keeps its id however often it is seen, and however far it grows."""

    id: str
    stream: str
    entity: str
    start: datetime
    end: datetime
    peak: datetime
    peak_score: float
    severity: str
    status: str
    """`open` or `closed`."""
    channels: tuple[Contribution, ...]
    ids: tuple[str, ...]
    kind: str
    """One of `KINDS`."""
    usual: float | None
    """Seconds; see `Event`."""
    stream_kind: str
    noun: str
    version: int | None
    run: str | None
    airflow_run: str | None
    silent: bool
    """Nobody was told: found by a backfill."""
    episode: int
    """1, and one more each time it went on after its end had been told."""
    opened_at: datetime
    updated_at: datetime
    closed_at: datetime | None
    ending: str = ""
    """Why it is closed although it was not seen to end: `silent` (its entity sends nothing any more),
    `gone` (and has not for as long as the history goes back), `unwatched` (switched off in the YAML)."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON: times as ISO 8601, numbers finite or None."""
        return {k: _plain(v) for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it was not written by `to_json`.
        """
        known = {name: data[name] for name in cls.__dataclass_fields__}
        for name in ("start", "end", "peak", "opened_at", "updated_at"):
            known[name] = datetime.fromisoformat(known[name])
        closed = known["closed_at"]
        known["closed_at"] = datetime.fromisoformat(closed) if closed else None
        known["channels"] = tuple(Contribution(**c) for c in known["channels"])
        return replace(cls(**known), ids=tuple(known["ids"]))


@dataclass(frozen=True, slots=True)
class Claimed:
    """One alert that one receiver is to be sent, leased to one deliverer."""

    key: str
    """Stable: the same on every retry, for the receiver to know a repeat by."""
    receiver: str
    event: str
    """`firing`, `resolved` or `meta`."""
    payload: Mapping[str, Any]
    """`Anomaly.to_json()`; a meta-alert's has `receiver`, `error` and `alert` (the payload undelivered)."""
    attempts: int
    """Failures so far."""
    created_at: datetime
    lease: str
    """Proof that it is ours."""


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value
