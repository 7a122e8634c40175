"""All streams at a glance, as the first page shows them: how fresh, what is open, a week of scores.

In: the stores. Out: a `Glance` of each stream, made again where its tables have changed, and rows to show.
Whoever shows them keeps them: a page with a thousand streams asks SQL two questions, and Delta none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline.config.schedule import parse_schedule
from pipeline.errors import OffbeatError
from pipeline.events import LATE, SEVERITIES, SILENCE
from pipeline.steps.score import shard_name
from pipeline.steps.series import scored
from pipeline.store import anomalies
from pipeline.store.leases import cursors_of_all

if TYPE_CHECKING:
    from pipeline.config.models import Stream
    from pipeline.registry import Version
    from pipeline.workspace import Workspace

CELL, CELLS = timedelta(hours=2), 84
"""A strip is a week: so many cells of so many hours."""
HEALTH = ("broken", "failing", "late", "silent", "empty", "untrained", "unseen", "fresh")
"""What can be said of a stream, the worst first."""
SLACK = timedelta(days=1)  # that scores may be behind records, beside three times their schedule
_HOUR_LEVEL = 3600


@dataclass(frozen=True)
class Glance:
    """What one stream's tables say. Versions are Delta's; `strip` ends at `until`, None is no score."""

    stream: str
    observations: int = -1
    scores: int = -1
    newest: str | None = None
    received: int = 0
    stored: int = 0
    duplicate: int = 0
    rejected: int = 0
    late: int = 0
    too_late: int = 0
    strip: tuple[float | None, ...] = ()
    until: str = ""
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Glance:
        """Read what `to_json` wrote; TypeError where it was another Offbeat's."""
        return cls(**{**data, "strip": tuple(data["strip"])})


def glance(work: Workspace, name: str, before: Glance | None, now: datetime) -> Glance:
    """Look at a stream's tables; what has not changed since `before` is not read again."""
    stream, known = work.stream(name), before or Glance(name)
    try:
        known = replace(_counts(work, stream, known), problem="")
        return _strip(work, stream, known, now)
    except OffbeatError as error:
        return replace(known, problem=str(error))


def _counts(work: Workspace, stream: Stream, known: Glance) -> Glance:
    store = work.observations(stream)
    version = store.version()
    if version == known.observations:
        return known
    state = store.state()
    counts = asdict(state.totals)
    return replace(
        known,
        observations=version,
        newest=state.watermark.isoformat() if state.watermark else None,
        **counts,
    )


def _strip(work: Workspace, stream: Stream, known: Glance, now: datetime) -> Glance:
    micros = CELL // timedelta(microseconds=1)
    last = int(now.timestamp() * 1e6) // micros
    until = (datetime.fromtimestamp(0, now.tzinfo) + (last + 1) * CELL).isoformat()
    pyramid = scored(work, stream)
    if (pyramid.version, until) == (known.scores, known.until):
        return known
    end = datetime.fromisoformat(until)
    days = pyramid.days(end - CELLS * CELL, end)
    for day in pyramid.missing(days):
        pyramid.build(day)
    level = pyramid.read(end - CELLS * CELL, end, _HOUR_LEVEL, days=days)
    cells = np.full(CELLS, -np.inf)
    place = level["time"].cast(pa.int64()).to_numpy() // micros - (last + 1 - CELLS)
    inside = (place >= 0) & (place < CELLS)
    np.fmax.at(cells, place[inside], level["score.max"].to_numpy()[inside].astype(float))
    strip = tuple(round(float(c), 3) if np.isfinite(c) else None for c in cells)
    return replace(known, scores=pyramid.version, strip=strip, until=until)


def overview(
    work: Workspace, glances: Mapping[str, Glance], champions: Mapping[str, Version] | None, now: datetime
) -> list[dict[str, Any]]:
    """Return a row for each stream, the worst first. Asks SQL two questions, and nothing else.

    Args:
        work: the workspace.
        glances: of the streams that were looked at.
        champions: by stream; None while they are not known.
        now: aware.
    """
    still = _open(anomalies.count_open(work.database))
    reached = cursors_of_all(work.database, "score.")
    rows = [
        _row(
            stream,
            glances.get(name),
            (champions or {}).get(name),
            still.get(name, {}),
            reached,
            now,
            learned=champions is not None,
        )
        for name, stream in work.project.streams.items()
    ]
    rows += [
        {
            "stream": name, "kind": "", "description": "", "owner": "", "health": "broken", "why": str(error),
            "newest": None, "behind": None, "champion": None, "trained": None, "open": {}, "strip": [],
        }
        for name, error in work.project.broken.items()
    ]  # fmt: skip
    return sorted(rows, key=_worst_first)


def _worst_first(row: Mapping[str, Any]) -> tuple[Any, ...]:
    counts = [-row["open"].get(severity, 0) for severity in reversed(SEVERITIES)]
    return (row["health"] != "broken", *counts, HEALTH.index(row["health"]), row["stream"])


def _open(counted: Iterable[tuple[str, str, str, int]]) -> dict[str, dict[str, dict[str, int]]]:
    """Return counts by stream, then `kinds` and `severities`."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for stream, kind, severity, count in counted:
        mine = found.setdefault(stream, {"kinds": {}, "severities": {}})
        for what, name in (("kinds", kind), ("severities", severity)):
            mine[what][name] = mine[what].get(name, 0) + count
    return found


def _row(
    stream: Stream,
    seen: Glance | None,
    best: Version | None,
    still: Mapping[str, Mapping[str, int]],
    reached: Mapping[tuple[str, str], Mapping[str, Any]],
    now: datetime,
    *,
    learned: bool,
) -> dict[str, Any]:
    at = datetime.fromisoformat(seen.newest) if seen and seen.newest else None
    until = [
        datetime.fromisoformat(found["watermark"])
        for shard in range(stream.shards)
        if (found := reached.get((stream.name, shard_name(stream, shard))))
    ]
    health, why = _health(
        stream, seen, best is None and learned, still.get("kinds", {}), at, min(until, default=None)
    )
    return {
        "stream": stream.name,
        "kind": stream.kind,
        "description": stream.description,
        "owner": stream.owner,
        "health": health,
        "why": why,
        "newest": at.isoformat() if at else None,
        "behind": (now - at).total_seconds() if at else None,
        "champion": best.version if best else None,
        "trained": best.created.isoformat() if best else None,
        "open": dict(still.get("severities", {})),
        "strip": list(seen.strip) if seen else [],
    }


def _health(  # noqa: PLR0911 - one line for each answer
    stream: Stream,
    seen: Glance | None,
    untrained: bool,
    kinds: Mapping[str, int],
    at: datetime | None,
    until: datetime | None,
) -> tuple[str, str]:
    if seen and seen.problem:
        return "failing", seen.problem
    if kinds.get(LATE):
        return "late", "no new records"
    if silent := kinds.get(SILENCE):
        return "silent", "one sends nothing" if silent == 1 else f"{silent} send nothing"
    if seen is None:
        return "unseen", "not looked at yet"
    if at is None:
        return "empty", "no records yet"
    if untrained:
        return "untrained", f"no model yet: offbeat train {stream.name}"
    if until and at - until > _patience(stream):
        return "failing", f"not scored since {until:%Y-%m-%d %H:%M} UTC"
    return "fresh", ""


def _patience(stream: Stream) -> timedelta:
    every = parse_schedule(stream.schedules.score)
    return SLACK + (3 * every if isinstance(every, timedelta) else timedelta(0))
