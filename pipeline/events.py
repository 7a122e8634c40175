"""What passes between detection, the store and alerts: events, anomalies, deliveries.

Neutral ground between rooms that do not import each other: `detect` makes events, `store` records
them as anomalies, `alerts` tells people. Every time here is aware, UTC.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from pipeline.config.models import Stream, TransactionStream

SEVERITIES = ("low", "medium", "high", "critical")
RECONSTRUCTION, SILENCE, FLATLINE, LATE, RANGE = "reconstruction", "silence", "flatline", "late", "range"
PRECISION, FAILURE = "precision", "failure"
KINDS = (RECONSTRUCTION, SILENCE, FLATLINE, LATE, RANGE, PRECISION, FAILURE)
"""What found an anomaly: the model, one of the watchdogs, or people's answers to the alerts themselves."""
ACKNOWLEDGED, SNOOZED, RESOLVED = "acknowledged", "snoozed", "resolved"
FALSE_ALARM, CONFIRMED, REOPENED = "false_alarm", "confirmed", "reopened"
ANSWERS = (ACKNOWLEDGED, SNOOZED, RESOLVED, FALSE_ALARM, CONFIRMED, REOPENED)
"""What people say of an anomaly. `reopened` takes back the answer that stands."""
VERDICTS = (CONFIRMED, FALSE_ALARM)
"""Answers that say what it was: later trainings learn from them."""
CLOSING = (RESOLVED, FALSE_ALARM)
"""Answers that close it, whatever detection still sees."""


def digest(*parts: str) -> str:
    """Return a short stable name for some text, unambiguous about where the parts end."""
    joined = "".join(f"{len(p)}:{p}" for p in parts)
    return hashlib.sha256(joined.encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Contribution:
    """One channel's part in an event.

    share is 0..1 of the joint error; expected and actual are in the channel's own unit at the peak,
    None where a number means nothing (a category, a gap). spread is how far they usually are apart, on normal
    data that the model did not learn from; None where that is not known.
    """

    channel: str
    share: float
    expected: float | None
    actual: float | None
    unit: str = ""
    spread: float | None = None


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
    spreads: Mapping[str, float] = field(default_factory=dict)
    """How far expected and actual usually are apart, by channel, in its own unit."""
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
        spreads: Mapping[str, float] | None = None,
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
            spreads=spreads or {},
            merge=stream.alert.merge,
            version=version,
            run=run,
            airflow_run=airflow_run,
        )


LATE_RECORDS, REPLAY = "late", "replay"
"""Why scores that had been judged changed: records that came late, or a stretch of time scored again."""
WITHDRAWN, MERGED = "withdrawn", "merged"
"""`Anomaly.ending` of one that its scores, as they are now, do not bear: it was none, or is another's."""
VOID = (WITHDRAWN, MERGED)


@dataclass(frozen=True, slots=True)
class Revision:
    """What an anomaly was until its scores changed: when that was found, why, and its facts before."""

    at: datetime
    why: str
    """`LATE_RECORDS` or `REPLAY`."""
    start: datetime
    end: datetime
    peak_score: float
    severity: str

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {k: _plain(v) for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        times = {name: datetime.fromisoformat(data[name]) for name in ("at", "start", "end")}
        return cls(**{**data, **times})


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
    `gone` (and has not for as long as the history goes back), `unwatched` (switched off in the YAML),
    `resolved` or `false_alarm` (somebody said so), `withdrawn` (it was none, as `revised` says), `merged` (it
    is part of another by now)."""
    revised: Revision | None = None
    """What it was before late records or a replay changed it last; None if none ever did."""
    answer: str = ""
    """The answer that stands, one of `ANSWERS`; empty while nobody has answered."""
    answered_by: str = ""
    answered_at: datetime | None = None
    snoozed_until: datetime | None = None
    verdict: str = ""
    """What people said it was, one of `VERDICTS`; a later `resolved` leaves it as it is."""
    settled: datetime | None = None
    """Up to when, in the stream's own time, a closing answer speaks of what was seen."""
    maintenance: str = ""
    """Id of the maintenance window it began in."""

    def taken(self, now: datetime) -> bool:
        """Tell whether somebody has taken it on, so that nobody else needs to be woken."""
        if self.answer == SNOOZED:
            return self.snoozed_until is not None and now < self.snoozed_until
        return self.answer not in ("", REOPENED)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON: times as ISO 8601, numbers finite or None."""
        return {k: _plain(v) for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it was not written by `to_json`.
        """
        facts = cls.__dataclass_fields__.items()
        known = {name: data[name] for name, fact in facts if name in data or fact.default is MISSING}
        for name in ("start", "end", "peak", "opened_at", "updated_at"):
            known[name] = datetime.fromisoformat(known[name])
        for name in ("closed_at", "answered_at", "snoozed_until", "settled"):
            said = known.get(name)
            known[name] = datetime.fromisoformat(said) if said else None
        known["channels"] = tuple(Contribution(**c) for c in known["channels"])
        if known.get("revised"):
            known["revised"] = Revision.from_json(known["revised"])
        return replace(cls(**known), ids=tuple(known["ids"]))


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody said of an anomaly, when and why; `until` is the end of a snooze."""

    what: str
    who: str
    at: datetime
    why: str = ""
    until: datetime | None = None

    def same(self, other: Self) -> bool:
        """Tell whether it says what another did: the same, by the same person, for as long."""
        return (self.what, self.who, self.until) == (other.what, other.who, other.until)


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
