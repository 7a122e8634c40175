"""What people ask about: freshness, anomalies, rejects; and keeping the tables tidy."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pipeline import clock, log
from pipeline.alerts.render import firing_title
from pipeline.alerts.words import revised
from pipeline.errors import DataError
from pipeline.steps.feedback import Figures, figures, publish
from pipeline.steps.score import shard_cursors
from pipeline.steps.series import make_levels
from pipeline.store import anomalies

if TYPE_CHECKING:
    from pipeline.steps.lag import Lag
    from pipeline.workspace import Workspace

REASONS = 20  # told apart at most; the rest are `other`
_VALUE = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\d[\w:.+-]*""")


def status(work: Workspace, name: str, lag: Lag | None) -> dict[str, Any]:
    """Return how one stream is doing; `lag` is what its source has that is not stored, if that is known."""
    stream, now = work.stream(name), clock.now()
    store = work.observations(stream)
    state, best = store.state(), work.registry.champion(name)
    still = anomalies.list_anomalies(work.database, stream=name, status="open", limit=10_000)
    looked = last_score(shard_cursors(work, stream))
    return {
        "stream": name,
        "newest": state.watermark and state.watermark.isoformat(timespec="seconds"),
        "behind": state.watermark and _age(now - state.watermark),
        "lag": lag and lag.count,
        "lag_unit": lag and lag.unit,
        **asdict(state.totals),
        "rejects": by_reason(store.reasons()),
        "scored": looked and looked.isoformat(timespec="seconds"),
        "champion": best and best.version,
        "champion_age": best and _age(now - best.created),
        "open_anomalies": len(still),
        "alerts_right": _right(figures(work, name).get(best.version)) if best else None,
    }


def last_score(seen: Sequence[Mapping[str, Any]]) -> datetime | None:
    """Return when all shards were last scored, as their cursors have it; None before they were."""
    told = [datetime.fromisoformat(each["at"]) for each in seen if "at" in each]
    return min(told) if told and len(told) == len(seen) else None


def _age(length: timedelta) -> str:
    return str(length).split(".", maxsplit=1)[0]


def by_reason(counts: dict[str, int]) -> dict[str, int]:
    """Count rejects by reason, values left out: the twenty commonest, and `other`."""
    kinds: Counter[str] = Counter()
    for reason, count in counts.items():
        kinds[_VALUE.sub("…", reason)[:120]] += count
    found = dict(kinds.most_common(REASONS))
    if rest := kinds.total() - sum(found.values()):
        found["other"] = rest
    return found


def _right(said: Figures | None) -> str | None:
    """Say how many of a version's alerts were right, of those that people judged."""
    return f"{said.confirmed}/{said.confirmed + said.false_alarm}" if said else None


def newest_anomalies(
    work: Workspace, name: str | None, *, limit: int, status: str | None = None
) -> list[dict[str, Any]]:
    """Return anomalies as plain JSON, the latest start first."""
    if name is not None:
        work.stream(name)
    found = anomalies.list_anomalies(work.database, stream=name, status=status, limit=limit)
    return [{**each.to_json(), "line": firing_title(each), "revision": revised(each)} for each in found]


def newest_rejects(work: Workspace, name: str, *, limit: int) -> list[dict[str, Any]]:
    """Return rejected records; raw bytes as text, what is not UTF-8 escaped."""
    table = work.observations(work.stream(name)).rejects(limit=limit)
    return [row | {"raw": row["raw"].decode(errors="backslashreplace")} for row in table.to_pylist()]


def discard(
    work: Workspace, name: str, *, ids: Sequence[str] = (), reason: str | None = None
) -> dict[str, Any]:
    """Remove rejects for good: those of `ids`, or all whose reason holds `reason`.

    Raises DataError unless one of the two is said: nothing said is not all of them.
    """
    if bool(ids) == bool(reason):
        raise DataError("say which: ids of rejects, or a reason and a part of it")
    store = work.observations(work.stream(name))
    with log.unit("discard", stream=name, reason=reason) as line:
        chosen = list(ids) or store.rejects(reason=reason)["reject"].to_pylist()
        line |= {"discarded": store.discard(chosen), "left": sum(store.reasons().values())}
    return {"stream": name, **line}


def maintain(work: Workspace, name: str) -> dict[str, Any]:
    """Tend a stream's tables, make the levels that pages show them by, and tell MLflow of the answers."""
    with log.unit("maintain", stream=name) as line:
        line |= tend(work, name)
        line["levels"] = make_levels(work, name)["made"]
    publish(work, name)
    return {"stream": name, **line}


def tend(work: Workspace, name: str) -> dict[str, int]:
    """Compact, expire and vacuum a stream's tables."""
    stream, now = work.stream(name), clock.now()
    keep = stream.retention
    done = work.observations(stream).maintain(now=now, observations=keep.observations, rejects=keep.rejects)
    scores = work.scores(stream).maintain(now=now, keep=keep.scores)
    return done | {f"scores_{what}": count for what, count in scores.items()}
