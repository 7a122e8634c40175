"""What passes between the store and the room that decides who is told: incidents, a ledger, a decision.

Neutral ground, as `pipeline.events` is: `store` reads the ledger and writes the decision, `alerts` decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pipeline.events import Anomaly


@dataclass(frozen=True, slots=True)
class Member:
    """An episode of an anomaly that belongs to an incident."""

    anomaly: str
    episode: int
    told: bool = True
    """False: it waits for the next notification of this incident."""


@dataclass(frozen=True, slots=True)
class Incident:
    """What one route makes of one anomaly, or of many that go together, and how far people were told."""

    key: str
    """Stable: receivers know by it what belongs together."""
    route: str
    group: str
    """Digest of what its anomalies have in common."""
    labels: Mapping[str, str]
    """What they have in common, where the route groups."""
    worst: str
    """Id of the anomaly that it is known by."""
    severity: str
    """The highest that was told."""
    count: int
    """Anomalies that were told."""
    opened_at: datetime
    first_at: datetime | None = None
    """When people were told first."""
    told_at: datetime | None = None
    """When people were told last."""
    closed_at: datetime | None = None
    told: Mapping[str, str] = field(default_factory=dict)
    """Receivers that were told, and the key of what they were sent last."""
    sent: int = 0
    """Notifications so far."""
    escalated: int = 0
    """Steps of the route's escalation that were taken."""
    acknowledged: bool = False
    """Those who keep track were told that somebody has taken it on."""
    members: tuple[Member, ...] = ()
    """Those that are open, or were not told yet; the rest only counts."""


Episode = tuple[str, int]
"""Id of an anomaly, and which of its episodes."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """All that a decision rests on, as it stands in the database."""

    anomalies: Mapping[str, Anomaly]
    """By id: those to decide on, and those that open incidents speak of."""
    undecided: frozenset[str]
    """Ids of those that have not been decided on since they changed."""
    incidents: tuple[Incident, ...] = ()
    """Those that are open."""
    seen: frozenset[tuple[str, Episode]] = frozenset()
    """Route and episode: what has been told already, in incidents that may be closed by now."""
    told: Mapping[Episode, frozenset[str]] = field(default_factory=dict)
    """Receivers that know of an episode, by whatever route."""
    direct: frozenset[Episode] = frozenset()
    """Episodes that were told in the transaction that recorded them."""
    alive: tuple[Anomaly, ...] = ()
    """What may mute others: open ones, and those that closed a moment ago."""
    recent: Mapping[str, int] = field(default_factory=dict)
    """How many alerts each receiver with a limit got within its period."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One notification to put in the outbox."""

    key: str
    event: str
    """`firing` or `resolved`."""
    anomaly: str
    payload: Mapping[str, Any]
    receivers: Mapping[str, str | None]
    """Each with the key of what it must have had before, or been given up on."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What has to be written, in one transaction."""

    incidents: tuple[Incident, ...] = ()
    """New ones, and those that changed."""
    notices: tuple[Notice, ...] = ()
    decided: tuple[Anomaly, ...] = ()
    """Nothing more has to be told of these, as they are now."""
