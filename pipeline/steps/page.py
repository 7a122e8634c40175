"""What the Anomalies page says of one stream, one anomaly, one day of transactions.

In: names. Out: JSON-able answers, times as ISO 8601, UTC. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import clock
from pipeline.alerts.message import About
from pipeline.alerts.render import firing_title, link_to, render, resolved_title
from pipeline.config.models import SensorStream, TransactionStream
from pipeline.errors import DataError, NotFound
from pipeline.events import Anomaly, Claimed
from pipeline.steps.inspect import by_reason
from pipeline.steps.scene import around
from pipeline.steps.score import TRAINED_UNTIL
from pipeline.steps.series import drawn, make_some, observed, scored
from pipeline.store import anomalies, outbox
from pipeline.store.scores import newest

if TYPE_CHECKING:
    from pipeline.workspace import Workspace

WEEK = timedelta(days=7)
ENTITIES = 200  # listed at most
TOP = 100  # transactions of a day
HISTORY = timedelta(days=30)  # of a card, before the day
PAYMENTS = 12  # of that history, the latest
COMPARED = 500  # anomalies that are compared with one
SIMILAR = 8
_HOUR = 3600


def stream_detail(work: Workspace, name: str) -> dict[str, Any]:
    """Return a stream's description, counts, rejects by reason, gaps of the last week, and its champion."""
    stream = work.stream(name)
    store = work.observations(stream)
    state, now = store.state(), clock.now()
    at = state.watermark
    return {
        "stream": name,
        "kind": stream.kind,
        "description": stream.description,
        "owner": stream.owner,
        "channels": [{"name": c, "unit": stream.units.get(c, "")} for c in drawn(stream)],
        "newest": at.isoformat() if at else None,
        "behind": (now - at).total_seconds() if at else None,
        "lateness": stream.lateness.total_seconds(),
        "received": state.totals.received,
        "stored": state.totals.stored,
        "duplicate": state.totals.duplicate,
        "rejected": state.totals.rejected,
        "rejects": by_reason(store.reasons()),
        "model": _model(work, name),
    }


def _model(work: Workspace, name: str) -> dict[str, Any] | None:
    if (best := work.registry.champion(name)) is None:
        return None
    links = work.project.alerts.links
    return {
        "version": best.version,
        "created": best.created.isoformat(),
        "trained_until": best.tags.get(TRAINED_UNTIL),
        "reason": best.tags.get("offbeat.reason", ""),
        "digest": best.digest,
        "metrics": {k: v for k, v in sorted(best.metrics.items()) if np.isfinite(v)},
        "run": best.run_id,
        "mlflow": f"{links.mlflow.rstrip('/')}/#/runs/{best.run_id}",
    }


def entities(work: Workspace, name: str) -> list[dict[str, Any]]:
    """Return a stream's entities: those with something open first, then the worst of the last week.

    Machines are known by the scores of the last week, cards by their anomalies; at most two hundred.
    `present` is the share of a week's grid that was sent, None for transactions.
    """
    stream = work.stream(name)
    found: dict[str, dict[str, Any]] = {
        row["entity"]: {**row, "newest": row["newest"].isoformat(), "recent": None, "present": None}
        for row in anomalies.by_entity(work.database, name)
    }
    if isinstance(stream, SensorStream) and (at := work.observations(stream).state().watermark):
        blank = {"anomalies": 0, "open": 0, "worst": None, "newest": None}
        for entity, recent in _recent(work, stream, at).items():
            found[entity] = {"entity": entity, **blank, **found.get(entity, {}), **recent}
    ranked = sorted(found.values(), key=lambda e: (-e["open"], -(e["recent"] or 0), -(e["worst"] or 0)))
    return ranked[:ENTITIES]


def _recent(work: Workspace, stream: SensorStream, at: datetime) -> dict[str, dict[str, Any]]:
    """Return each machine's highest score of the week up to `at`, and the share of the grid it sent."""
    start, end = at - WEEK, at + timedelta(microseconds=1)
    scores, seen = scored(work, stream), observed(work, stream)
    for pyramid in (scores, seen):
        make_some(pyramid, pyramid.days(start, end))
    worst = scores.read(start, end, _HOUR).group_by("entity").aggregate([("score.max", "max")])
    sent = seen.read(start, end, _HOUR, values=()).group_by("entity").aggregate([("count", "sum")])
    cells = max(WEEK / stream.grid.step, 1.0)
    recent = dict(zip(worst["entity"].to_pylist(), worst["score.max_max"].to_pylist(), strict=True))
    counts = dict(zip(sent["entity"].to_pylist(), sent["count_sum"].to_pylist(), strict=True))
    return {
        entity: {"recent": recent.get(entity), "present": min(counts.get(entity, 0) / cells, 1.0)}
        for entity in {**recent, **counts}
    }


def anomaly_detail(work: Workspace, identifier: str) -> dict[str, Any]:
    """Return one anomaly: the alert's words, where to look, what was sent, and what was like it.

    Raises:
        NotFound: there is none with this id.
    """
    if (found := anomalies.get(work.database, identifier)) is None:
        raise NotFound(f"no anomaly {identifier!r}: expected an id, as `offbeat anomalies --json` shows them")
    stream = work.project.streams.get(found.stream)
    links = work.project.alerts.links
    about = About(stream.description, stream.owner) if stream else About()
    told = Claimed(found.id, "", "firing", found.to_json(), 0, found.opened_at, "")
    start, end = around(stream, found) if stream else (found.start, found.end)
    return {
        **told.payload,
        "line": firing_title(found),
        "end_line": resolved_title(found) if found.status == "closed" else "",
        "text": render(told, links, about=about).text,
        "links": link_to(found, links),
        "around": [start.isoformat(), end.isoformat()],
        "similar": _similar(work, found),
        "deliveries": [
            {k: v.isoformat() if isinstance(v, datetime) else v for k, v in row.items()}
            for row in outbox.history(work.database, found.id)
        ],
    }


def _similar(work: Workspace, anomaly: Anomaly) -> list[dict[str, Any]]:
    """Return others of the stream and kind whose channels contributed alike, the most alike first."""
    others = anomalies.list_anomalies(work.database, stream=anomaly.stream, kind=anomaly.kind, limit=COMPARED)
    rated = [(_alike(anomaly, each), each) for each in others if each.id != anomaly.id]
    rated = [pair for pair in rated if pair[0] > 0.5]
    rated.sort(
        key=lambda pair: (-round(pair[0], 2), pair[1].entity != anomaly.entity, -pair[1].start.timestamp())
    )
    return [{**summary(each), "alike": round(alike, 2)} for alike, each in rated[:SIMILAR]]


def _alike(one: Anomaly, other: Anomaly) -> float:
    """Return how alike two anomalies are: the cosine of their channels' shares; 1 where none has any."""
    mine, theirs = ({c.channel: c.share for c in each.channels} for each in (one, other))
    if not mine and not theirs:
        return 1.0
    lengths = [float(np.linalg.norm([*shares.values(), 0.0])) for shares in (mine, theirs)]
    product = sum(share * theirs.get(channel, 0.0) for channel, share in mine.items())
    return product / (lengths[0] * lengths[1]) if min(lengths) > 0 else 0.0


def summary(each: Anomaly) -> dict[str, Any]:
    """Return what a list shows of an anomaly."""
    plain = each.to_json()
    left = {"channels", "ids", "usual", "noun", "stream_kind"}
    return {k: v for k, v in plain.items() if k not in left} | {"line": firing_title(each)}


def transactions(work: Workspace, name: str, day: date | None = None) -> dict[str, Any]:
    """Return a day's (UTC) transactions with the highest scores, and what their cards did before.

    Without a day, the newest that has records. Rows have `score`, `flag`, `contributions`, the record's own
    fields, the `anomaly` it belongs to, and `history`: the card's latest payments before it.

    Raises:
        DataError: the stream is none of transactions.
    """
    stream = work.stream(name)
    if not isinstance(stream, TransactionStream):
        raise DataError(f"{name} is a {stream.kind} stream; expected one of transactions")
    if day is None:
        at = work.observations(stream).state().watermark or clock.now()
        day = at.date()
    start = datetime.combine(day, time(), UTC)
    end = start + timedelta(days=1)
    best = _highest(newest(work.scores(stream).read(start, end)))
    history = _history(work, stream, best, start, end)
    of = _anomaly_of(work, name, start, end)
    rows = []
    for row in best.to_pylist():
        payments = history.get(row["entity"], [])
        mine = next((p for p in payments if p["id"] == row["id"]), {})
        before = [p for p in payments if p["time"] < row["time"]][-PAYMENTS:]
        rows.append(
            {
                "id": row["id"], "entity": row["entity"], "time": row["time"].isoformat(),
                "score": row["score"], "flag": row["flag"], "anomaly": of.get(row["id"]),
                "contributions": row["contributions"] or [],
                "amount": mine.get("amount"),
                "categories": {c: mine.get(c) for c in stream.fields.categories},
                "history": [{**p, "time": p["time"].isoformat()} for p in before],
            }
        )  # fmt: skip
    return {
        "stream": name,
        "day": day.isoformat(),
        "noun": (stream.fields.entity or "card").removesuffix("_id").replace("_", " "),
        "unit": stream.fields.unit,
        "categories": list(stream.fields.categories),
        "rows": rows,
    }


def _highest(scores: pa.Table) -> pa.Table:
    scores = scores.filter(pc.is_valid(scores["score"]))
    order = pc.sort_indices(scores, [("score", "descending"), ("time", "ascending")])
    return scores.take(order[:TOP])


def _history(
    work: Workspace, stream: TransactionStream, best: pa.Table, start: datetime, end: datetime
) -> Mapping[str, Sequence[dict[str, Any]]]:
    """Return the payments of the cards of `best`, by card, oldest first: one read for all of them."""
    cards = pc.unique(best["entity"]).to_pylist()
    columns = ["entity", "time", "id", "amount", *stream.fields.categories]
    found: dict[str, list[dict[str, Any]]] = {card: [] for card in cards}
    if cards:
        rows = work.observations(stream).read(start - HISTORY, end, entities=cards, columns=columns)
        for row in rows.to_pylist():
            found[row.pop("entity")].append(row)
    return found


def _anomaly_of(work: Workspace, name: str, start: datetime, end: datetime) -> dict[str, dict[str, Any]]:
    """Return the anomaly that each flagged transaction belongs to, by its id."""
    known = anomalies.list_anomalies(work.database, stream=name, since=start, until=end, limit=10_000)
    return {identifier: summary(each) for each in known for identifier in each.ids}
