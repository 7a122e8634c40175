"""Flag: scores in, anomalies out, with the alerts they cause, in one SQL transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import clock, log
from pipeline.config.models import SensorStream
from pipeline.detect import events
from pipeline.events import LATE_RECORDS, RECONSTRUCTION, REPLAY, VOID, Anomaly, Context, Event
from pipeline.scoring import Scorer, micros
from pipeline.steps.memory import Memory
from pipeline.steps.notify import at_once, notify
from pipeline.steps.score import FLAGGED, Champion, champion, shard_cursors
from pipeline.store import anomalies
from pipeline.store.leases import cursor
from pipeline.store.scores import newest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.config.models import Stream
    from pipeline.workspace import Workspace


def flag(
    work: Workspace,
    name: str,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    silent: bool = False,
    airflow_run: str | None = None,
    memory: Memory | None = None,
) -> dict[str, Any]:
    """Turn the scores of stream `name` into anomalies: what is new, or [start, end) again.

    An anomaly that goes on keeps its id; one whose scores late records changed is revised. `silent` records
    without alerting anybody; so does a range.
    """
    stream, live = work.stream(name), start is None and end is None
    with log.unit("flag", stream=name, silent=silent or not live) as line:
        best, seen = champion(work, stream, memory), shard_cursors(work, stream)
        since = _since(work, stream, best) if live else start or best.trained_until
        late = _late(work, stream, best) if live else {}
        first = _lookback(work, stream, since, seen, late) if live else since
        found = work.scores(stream).read(first, end + stream.alert.merge if end else None)
        scores = newest(found, best.version.version)
        judged = _judged(stream, seen, scores)
        recorded = anomalies.record(
            work.database,
            name,
            _events(stream, scores, judged),
            now=clock.now(),
            receivers=at_once(work, stream),
            context=_context(stream, best, scores, airflow_run),
            silent=silent or not live,
            watermark=judged,
            since=since if live else None,
            review=_review(scores, late),
            cursor=(FLAGGED, _reached(seen)) if live and seen else None,
        )
        line |= recorded.counts()
        line["alerts"] += notify(work)["alerts"]
    return {"stream": name, **line}


def flag_again(
    work: Workspace,
    name: str,
    start: datetime,
    end: datetime,
    *,
    silent: bool = True,
) -> dict[str, Any]:
    """Make of the anomalies of [start, end) what the stored scores say; what they do not bear is withdrawn.

    Those that reach over the edges are judged whole. Unless `silent`, people are told what they were not.
    """
    stream = work.stream(name)
    with log.unit("flag", stream=name, silent=silent) as line:
        best, merge = champion(work, stream), stream.alert.merge
        near = found_in(work, stream, start, end)
        since = min([start, *(old.start for old in near)]) - merge
        # so far beyond the last end that a flag after it would still be seen
        until = max([end, *(old.end for old in near)]) + 2 * merge + _step(stream)
        scores = newest(work.scores(stream).read(since, until), best.version.version)
        judged = _judged_beyond(work, stream, scores, until)
        oldest = _by_entity(scores, "min")
        recorded = anomalies.record(
            work.database,
            name,
            [e for e in _events(stream, scores, judged) if _touches(e, start, end, near, merge)],
            now=clock.now(),
            receivers=at_once(work, stream),
            context=_context(stream, best, scores, None),
            silent=silent,
            since=None if silent else start,
            review=anomalies.Review(
                REPLAY, start - merge, end + merge, lambda a: oldest.get(a.entity, until) <= a.start
            ),
        )
        line |= recorded.counts()
        line["alerts"] += notify(work)["alerts"]
    return {"stream": name, **line}


def found_in(work: Workspace, stream: Stream, start: datetime, end: datetime) -> list[Anomaly]:
    """Return what the model found in [start, end), or as near to it as belongs together, and still stands."""
    merge = stream.alert.merge
    found = anomalies.list_anomalies(
        work.database,
        stream=stream.name,
        kind=RECONSTRUCTION,
        since=start - merge,
        until=end + merge,
        limit=1_000_000,
    )
    return [old for old in found if old.ending not in VOID]


def _touches(event: Event, start: datetime, end: datetime, near: Sequence[Anomaly], merge: timedelta) -> bool:
    """Say whether an event lies in [start, end), or is part of an anomaly that does."""
    if event.end >= start and event.start < end:
        return True
    same = (old for old in near if old.entity == event.entity)
    return any(event.end + merge >= old.start and event.start - merge <= old.end for old in same)


def _judged_beyond(work: Workspace, stream: Stream, scores: pa.Table, until: datetime) -> dict[str, datetime]:
    """Return up to when each entity of some scores was judged, those at `until` and later counted in."""
    later = work.scores(stream).read(until, columns=["entity", "time"])
    by_entity = _by_entity(scores, "max")
    known = {entity: top for entity, top in _by_entity(later, "max").items() if entity in by_entity}
    if isinstance(stream, SensorStream) or not (seen := shard_cursors(work, stream)):
        return by_entity | known
    return dict.fromkeys(by_entity, datetime.fromisoformat(_reached(seen)["until"]))


def _step(stream: Stream) -> timedelta:
    return stream.grid.step if isinstance(stream, SensorStream) else timedelta(0)


def _context(stream: Stream, best: Champion, scores: pa.Table, airflow_run: str | None) -> Context:
    flagged = pc.any(scores["flag"]).as_py()
    return Context.of(
        stream,
        spreads=Scorer.of(best.bundle, stream).spreads if flagged else {},
        version=best.version.version,
        run=best.version.run_id,
        airflow_run=airflow_run,
    )


def _reached(seen: list[dict[str, Any]]) -> dict[str, Any]:
    return {"until": min(each["watermark"] for each in seen), "batch": min(each["batch"] for each in seen)}


def _judged(stream: Stream, seen: list[dict[str, Any]], scores: pa.Table) -> dict[str, datetime]:
    """Return up to when each entity was judged.

    A machine that fell silent was judged up to its last row and no further: that its fault is over is not
    known. A card that is not used is not silent: the stream's own time goes on for it.
    """
    by_entity = _by_entity(scores, "max")
    if isinstance(stream, SensorStream) or not seen:
        return by_entity
    return dict.fromkeys(by_entity, datetime.fromisoformat(min(each["watermark"] for each in seen)))


def _by_entity(scores: pa.Table, which: str) -> dict[str, datetime]:
    """Return each entity's oldest (`min`) or newest (`max`) time."""
    found = scores.group_by("entity").aggregate([("time", which)])
    return dict(zip(found["entity"].to_pylist(), found[f"time_{which}"].to_pylist(), strict=True))


def _since(work: Workspace, stream: Stream, best: Champion) -> datetime:
    seen = cursor(work.database, stream.name, FLAGGED)
    return datetime.fromisoformat(seen["until"]) if seen else best.trained_until


def _late(work: Workspace, stream: Stream, best: Champion) -> dict[str, datetime]:
    """Return from when on records that came late changed scores that were judged, by entity.

    A card's scores follow from what others paid at the same terminals: "" stands for every other card.
    """
    flagged, store = cursor(work.database, stream.name, FLAGGED), work.observations(stream)
    if not flagged:
        return {}
    until, oldest = datetime.fromisoformat(flagged["until"]), store.earliest(after=flagged["batch"])
    if oldest is None or oldest >= until:
        return {}
    came = store.arrivals(after=flagged["batch"])
    if isinstance(stream, SensorStream):
        settle = Scorer.of(best.bundle, stream).settle
        return {entity: each.first - settle for entity, each in came.items() if each.late}
    own = {entity: each.first for entity, each in came.items() if each.late}
    first = min((each.first for each in came.values()), default=until)
    return own | {"": max(first, until - stream.lateness)} if first < until else {}


def _review(scores: pa.Table, late: Mapping[str, datetime]) -> anomalies.Review | None:
    """Return which anomalies are to be revised: those late records touch, if all their scores are here."""
    if not late:
        return None
    oldest = _by_entity(scores, "min")

    def whole(old: Anomaly) -> bool:
        since = late.get(old.entity, late.get(""))
        touched = since is not None and old.end >= since
        return touched and old.entity in oldest and oldest[old.entity] <= old.start

    return anomalies.Review(LATE_RECORDS, min(late.values()), None, whole)


def _lookback(
    work: Workspace,
    stream: Stream,
    since: datetime,
    seen: list[dict[str, Any]],
    late: Mapping[str, datetime],
) -> datetime:
    """Return from when scores are looked at: new and late ones, and those of anomalies open or touched."""
    asked: dict[str, Any] = {"stream": stream.name, "kind": RECONSTRUCTION, "limit": 10_000}
    still = anomalies.list_anomalies(work.database, status="open", **asked)
    if late:
        still += anomalies.list_anomalies(work.database, since=min(late.values()), **asked)
    scored = (datetime.fromisoformat(each["from"]) for each in seen)
    return min([since, *scored, *(a.start for a in still)]) - stream.alert.merge


def _events(stream: Stream, scores: pa.Table, judged: Mapping[str, datetime]) -> Iterator[Event]:
    flagged = pc.unique(scores.filter(scores["flag"])["entity"])
    scores = scores.filter(pc.is_in(scores["entity"], value_set=flagged))
    for entity in flagged.to_pylist():
        mine = scores.filter(pc.equal(scores["entity"], entity))
        yield from _of_entity(stream, entity, mine, judged[entity])


def _of_entity(stream: Stream, entity: str, table: pa.Table, judged: datetime) -> list[Event]:
    """Find one entity's events. Contributions are needed where it flagged, so only there unpacked."""
    parts = _unpack(table, stream.channels)
    step = stream.grid.step // timedelta(microseconds=1) if isinstance(stream, SensorStream) else None
    return events(
        entity,
        table["time"].cast(pa.int64()).to_numpy(),
        table["score"].to_numpy(),
        table["flag"].to_numpy(zero_copy_only=False),
        table["raw"].to_numpy(),
        parts["share"],
        parts["expected"],
        parts["actual"],
        stream.channels,
        merge_us=stream.alert.merge // timedelta(microseconds=1),
        watermark_us=micros(judged),
        ids=None if step else table["id"].to_numpy(zero_copy_only=False),
        step_us=step,
    )


def _unpack(table: pa.Table, channels: Sequence[str]) -> Mapping[str, NDArray[np.float64]]:
    """Return share, expected and actual as [T, C], NaN where the row does not name the channel."""
    lists = table["contributions"].combine_chunks()
    row, item = pc.list_parent_indices(lists).to_numpy(), pc.list_flatten(lists)
    at = pc.fill_null(pc.index_in(item.field("channel"), pa.array(channels)), -1).to_numpy()
    known = at >= 0  # a channel that has left the config since
    out = {}
    for name in ("share", "expected", "actual"):
        out[name] = np.full((len(table), len(channels)), np.nan)
        out[name][row[known], at[known]] = item.field(name).to_numpy(zero_copy_only=False)[known]
    return out
