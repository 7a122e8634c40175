"""What people ask about: freshness, anomalies, rejects; and keeping the tables tidy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline import clock, log
from pipeline.alerts.render import firing_title
from pipeline.errors import DataError
from pipeline.steps.feedback import Figures, figures, publish
from pipeline.steps.series import make_levels
from pipeline.store import anomalies

if TYPE_CHECKING:
    from pipeline.workspace import Workspace


def status(work: Workspace, name: str) -> dict[str, Any]:
    """Return how one stream is doing."""
    stream = work.stream(name)
    state, best = work.observations(stream).state(), work.registry.champion(name)
    still = anomalies.list_anomalies(work.database, stream=name, status="open", limit=10_000)
    totals = state.totals
    return {
        "stream": name,
        "newest": state.watermark and state.watermark.isoformat(timespec="seconds"),
        "behind": state.watermark and str(clock.now() - state.watermark).split(".", maxsplit=1)[0],
        "received": totals.received,
        "stored": totals.stored,
        "duplicate": totals.duplicate,
        "rejected": totals.rejected,
        "champion": best and best.version,
        "open_anomalies": len(still),
        "alerts_right": _right(figures(work, name).get(best.version)) if best else None,
    }


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
    return [{**each.to_json(), "line": firing_title(each)} for each in found]


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
    """Compact, expire and vacuum a stream's tables, and make the levels that pages show them by."""
    stream, now = work.stream(name), clock.now()
    with log.unit("maintain", stream=name) as line:
        keep = stream.retention
        line |= work.observations(stream).maintain(
            now=now, observations=keep.observations, rejects=keep.rejects
        )
        tended = work.scores(stream).maintain(now=now, keep=keep.scores)
        line |= {f"scores_{what}": count for what, count in tended.items()}
    publish(work, name)
        line["levels"] = make_levels(work, name)["made"]
    return {"stream": name, **line}
