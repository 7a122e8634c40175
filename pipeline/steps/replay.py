"""Replay: a stretch of time read, scored and flagged again; out: which anomalies appear, vanish and move.

What is missing is added, what is known is dropped, the champion's scores of then are made anew, and the
anomalies are what these say. Nobody is alerted unless asked. The position of the source stays, so that a
replay can be killed anywhere and run again, and a second one changes nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import log
from pipeline.errors import DataError
from pipeline.events import VOID, Anomaly
from pipeline.schemas import TIME
from pipeline.sources import open_source
from pipeline.steps.flag import flag_again, found_in
from pipeline.steps.ingest import BATCH_ROWS
from pipeline.steps.score import champion, score
from pipeline.store import anomalies

if TYPE_CHECKING:
    from pipeline.config.models import Stream
    from pipeline.workspace import Workspace


def replay(
    work: Workspace,
    name: str,
    start: datetime,
    end: datetime,
    *,
    alert: bool = False,
) -> dict[str, Any]:
    """Read, score and flag [start, end) of stream `name` again.

    Args:
        work: the workspace.
        name: of the stream.
        start: aware, inclusive.
        end: aware, exclusive.
        alert: tell people of what they were not told; else only what is open with them is taken back.

    Returns:
        Counts, and `changes`: one for each anomaly that appeared, vanished or moved, with its facts `before`
        and `after`.

    Raises:
        DataError: `end` is not after `start`.
        NoChampion: there is nothing to score with.
        Unavailable: the source does not answer.
    """
    if start >= end:
        raise DataError(f"nothing lies from {start.isoformat()} to {end.isoformat()}: the end comes first")
    stream = work.stream(name)
    with log.unit("replay", stream=name, silent=not alert) as line:
        version, before = champion(work, stream).version.version, found_in(work, stream, start, end)
        read = _read_again(work, stream, start, end)
        scored = [score(work, name, shard=shard, start=start, end=end) for shard in range(stream.shards)]
        flagged = flag_again(work, name, start, end, silent=not alert)
        line |= {
            "from": start.isoformat(),
            "to": end.isoformat(),
            "version": version,
            **read,
            "rows": sum(each["rows"] for each in scored),
            "changed": sum(each["added"] + each["changed"] for each in scored),
            "alerts": flagged["alerts"],
        }
        changes = _changes(before, _now(work, stream, before, start, end))
        for what in ("appeared", "vanished", "moved"):
            line[what] = sum(change["what"] == what for change in changes)
    return {"stream": name, **line, "changes": changes}


def _read_again(work: Workspace, stream: Stream, start: datetime, end: datetime) -> dict[str, Any]:
    """Read the source again as far back as it goes; store what is missing of [start, end), and count it.

    Rejects are not stored once more: what cannot be read was rejected when it came.
    """
    store, read, added = work.observations(stream), 0, 0
    with open_source(stream, work.home.project) as source:
        position = source.rewound(store.state().position, start - stream.lateness)
        more = position is not None
        while more and position is not None:
            batch = source.read(position, BATCH_ROWS)
            records = batch.records.filter(_between(batch.records["time"], start, end))
            read, added = read + len(records), added + store.add(records)
            position, more = batch.position, batch.more
        return {"read": read, "missing": added, "note": source.keeps}


def _between(times: pa.ChunkedArray, start: datetime, end: datetime) -> pa.ChunkedArray:
    since, until = pa.scalar(start, TIME), pa.scalar(end, TIME)
    return pc.and_(pc.greater_equal(times, since), pc.less(times, until))


def _now(
    work: Workspace, stream: Stream, before: list[Anomaly], start: datetime, end: datetime
) -> list[Anomaly]:
    """Return what stands now of the stretch, and of what stood before and has moved out of it."""
    found = found_in(work, stream, start, end)
    gone = {old.id for old in before} - {new.id for new in found}
    moved = [new for name in gone if (new := anomalies.get(work.database, name))]
    return found + [new for new in moved if new.ending not in VOID]


def _changes(before: list[Anomaly], after: list[Anomaly]) -> list[dict[str, Any]]:
    was, now_is = ({each.id: _facts(each) for each in found} for found in (before, after))
    whose = {each.id: each for each in (*before, *after)}
    told = [
        {"what": what, "anomaly": name, "entity": whose[name].entity, "before": old, "after": new}
        for name in whose
        if (what := _what(old := was.get(name), new := now_is.get(name)))
    ]
    return sorted(told, key=lambda change: (whose[change["anomaly"]].start, change["entity"]))


def _what(old: dict[str, Any] | None, new: dict[str, Any] | None) -> str:
    if old is None:
        return "appeared"
    if new is None:
        return "vanished"
    told = ("start", "end", "severity")
    return "moved" if any(old[name] != new[name] for name in told) else ""


def _facts(anomaly: Anomaly) -> dict[str, Any]:
    plain = anomaly.to_json()
    return {name: plain[name] for name in ("start", "end", "severity", "peak_score", "status")}
