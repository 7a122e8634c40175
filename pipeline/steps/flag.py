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
from pipeline.events import RECONSTRUCTION, Context, Event
from pipeline.scoring import Scorer, micros
from pipeline.steps.notify import at_once, notify
from pipeline.steps.score import FLAGGED, Champion, champion, shard_name
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
) -> dict[str, Any]:
    """Turn the scores of stream `name` into anomalies: what is new, or [start, end) again.

    An anomaly that goes on keeps its id. `silent` records without alerting anybody; so does a range.
    """
    stream, live = work.stream(name), start is None and end is None
    with log.unit("flag", stream=name, silent=silent or not live) as line:
        best, seen = champion(work, stream), _seen(work, stream)
        since = _since(work, stream, best) if live else start or best.trained_until
        first = _lookback(work, stream, since, seen) if live else since
        scores = newest(work.scores(stream).read(first, end + stream.alert.merge if end else None))
        judged = _judged(stream, seen, scores)
        found = _events(stream, scores, judged)
        recorded = anomalies.record(
            work.database,
            name,
            found,
            now=clock.now(),
            receivers=at_once(work, stream),
            context=_context(stream, best, scores, airflow_run),
            silent=silent or not live,
            watermark=judged,
            since=since if live else None,
            cursor=(FLAGGED, _reached(seen)) if live and seen else None,
        )
        line |= recorded.counts()
        line["alerts"] += notify(work)["alerts"]
    return {"stream": name, **line}


def _context(stream: Stream, best: Champion, scores: pa.Table, airflow_run: str | None) -> Context:
    flagged = pc.any(scores["flag"]).as_py()
    return Context.of(
        stream,
        spreads=Scorer.of(best.bundle, stream).spreads if flagged else {},
        version=best.version.version,
        run=best.version.run_id,
        airflow_run=airflow_run,
    )


def _seen(work: Workspace, stream: Stream) -> list[dict[str, Any]]:
    """Return how far each shard was scored; nothing before every shard was."""
    seen = [cursor(work.database, stream.name, shard_name(stream, shard)) for shard in range(stream.shards)]
    return seen if all(seen) else []


def _reached(seen: list[dict[str, Any]]) -> dict[str, Any]:
    return {"until": min(each["watermark"] for each in seen), "batch": min(each["batch"] for each in seen)}


def _judged(stream: Stream, seen: list[dict[str, Any]], scores: pa.Table) -> dict[str, datetime]:
    """Return up to when each entity was judged.

    A machine that fell silent was judged up to its last row and no further: that its fault is over is not
    known. A card that is not used is not silent: the stream's own time goes on for it.
    """
    last = scores.group_by("entity").aggregate([("time", "max")])
    by_entity = dict(zip(last["entity"].to_pylist(), last["time_max"].to_pylist(), strict=True))
    if isinstance(stream, SensorStream) or not seen:
        return by_entity
    return dict.fromkeys(by_entity, datetime.fromisoformat(min(each["watermark"] for each in seen)))


def _since(work: Workspace, stream: Stream, best: Champion) -> datetime:
    seen = cursor(work.database, stream.name, FLAGGED)
    return datetime.fromisoformat(seen["until"]) if seen else best.trained_until


def _lookback(work: Workspace, stream: Stream, since: datetime, seen: list[dict[str, Any]]) -> datetime:
    """Return from when scores are looked at: new and late ones, and those of anomalies still open."""
    still = anomalies.list_anomalies(
        work.database, stream=stream.name, status="open", kind=RECONSTRUCTION, limit=10_000
    )
    scored = (datetime.fromisoformat(each["from"]) for each in seen)
    return min([since, *scored, *(a.start for a in still)]) - stream.alert.merge


def _events(stream: Stream, scores: pa.Table, judged: Mapping[str, datetime]) -> Iterator[Event]:
    for entity in pc.unique(scores["entity"]).to_pylist():
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
