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
from pipeline.events import Context, Event
from pipeline.scoring import micros
from pipeline.steps.score import Champion, champion, shard_name
from pipeline.store import anomalies
from pipeline.store.leases import cursor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.config.models import Stream
    from pipeline.workspace import Workspace

CURSOR = "flag"


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

    An anomaly that goes on keeps its id. `silent` records without alerting anybody.
    """
    stream = work.stream(name)
    with log.unit("flag", stream=name, silent=silent) as line:
        judged = _judged(work, stream)
        if judged is None:
            return {"stream": name, "opened": 0, "continued": 0, "closed": 0, "alerts": 0}
        best, live = champion(work, stream), start is None and end is None
        since = _since(work, stream, best) if live else start or best.trained_until
        found = _events(work, stream, _lookback(work, stream, since) if live else since, end, judged)
        recorded = anomalies.record(
            work.database,
            name,
            found,
            now=clock.now(),
            receivers=stream.alert.receivers,
            context=_context(stream, best, airflow_run),
            silent=silent,
            watermark=judged,
            since=since if live else None,
            cursor=(CURSOR, {"until": judged.isoformat()}) if live else None,
        )
        line |= recorded.counts()
    return {"stream": name, **line}


def _context(stream: Stream, best: Champion, airflow_run: str | None) -> Context:
    return Context.of(stream, version=best.version.version, run=best.version.run_id, airflow_run=airflow_run)


def _judged(work: Workspace, stream: Stream) -> datetime | None:
    """Return up to when every shard was scored; None before the first scoring."""
    seen = [cursor(work.database, stream.name, shard_name(stream, shard)) for shard in range(stream.shards)]
    if not all(seen):
        return None
    return min(datetime.fromisoformat(each["watermark"]) for each in seen)


def _since(work: Workspace, stream: Stream, best: Champion) -> datetime:
    seen = cursor(work.database, stream.name, CURSOR)
    return datetime.fromisoformat(seen["until"]) if seen else best.trained_until


def _lookback(work: Workspace, stream: Stream, since: datetime) -> datetime:
    """Return from when scores are looked at: late ones, and those of anomalies that are still open."""
    window = timedelta(0)
    if isinstance(stream, SensorStream):
        window = stream.grid.step * (stream.window.delay + 1)
    still = anomalies.list_anomalies(work.database, stream=stream.name, status="open", limit=10_000)
    earliest = min((a.start for a in still), default=since)
    return min(since - stream.lateness - window, earliest) - stream.alert.merge


def _events(
    work: Workspace, stream: Stream, start: datetime, end: datetime | None, judged: datetime
) -> Iterator[Event]:
    until = end + stream.alert.merge if end else None
    table = _latest(work.scores(stream).read(start, until))
    for entity in pc.unique(table["entity"]).to_pylist():
        yield from _of_entity(stream, entity, table.filter(pc.equal(table["entity"], entity)), judged)


def _latest(table: pa.Table) -> pa.Table:
    """Keep each row's score by the newest version that scored it."""
    if len(pc.unique(table["version"])) <= 1:
        return table
    keys = ["entity", "time", "id"]
    frame = table.select([*keys, "version"]).to_pandas().sort_values("version", kind="stable")
    return table.take(frame.drop_duplicates(keys, keep="last").index.sort_values().to_numpy())


def _of_entity(stream: Stream, entity: str, table: pa.Table, judged: datetime) -> list[Event]:
    """Find one entity's events. Contributions are needed where it flagged, so only there unpacked."""
    parts = _unpack(table, stream.channels)
    step = stream.grid.step // timedelta(microseconds=1) if isinstance(stream, SensorStream) else None
    return events(
        entity,
        table["time"].cast(pa.int64()).to_numpy(),
        table["score"].to_numpy(),
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
