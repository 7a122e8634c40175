"""Score: observations and a champion in, scores out, shard by shard of the entities.

A run without a range scores what is new since the last one, and again what late records touch; with a range,
that range again. Either way a score that is already stored is not stored twice, so a run can be killed
anywhere and run again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import clock, log
from pipeline.errors import DataError, NoChampion
from pipeline.models.bundle import Bundle
from pipeline.prepare import shard as shard_of
from pipeline.schemas import TIME
from pipeline.scoring import Scorer, tabulate
from pipeline.steps.memory import Memory, Shard
from pipeline.store.leases import cursor, set_cursor

if TYPE_CHECKING:
    from pipeline.config.models import Stream
    from pipeline.registry import Version
    from pipeline.workspace import Workspace

CELLS = 2_500_000  # rows times channels scored at once, in some views: bounds memory, changes no score
KEPT = 4  # bundles of a workspace, each some MB with its sessions
FLAGGED = "flag"
"""Cursor of the flag step: up to when, and up to which batch, scores were turned into anomalies."""
TRAINED_UNTIL = "offbeat.trained_until"
"""Tag of a version: end of the history it learned from and was calibrated on, ISO 8601."""
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True)
class Champion:
    """The model version that scores now, with its verified bundle."""

    version: Version
    bundle: Bundle
    stream: Stream

    @property
    def trained_until(self) -> datetime:
        """End of the history it knows; scoring starts there."""
        return datetime.fromisoformat(self.version.tags[TRAINED_UNTIL])

    @cached_property
    def scorer(self) -> Scorer:
        """Ready to judge the stream's records as it is configured now."""
        return Scorer.of(self.bundle, self.stream)


@dataclass(frozen=True)
class _Open:
    """From when on scores may be written: at all, of some entities, and of the others.

    `whole` says that no row before `begin` is another than when it was scored.
    """

    begin: datetime
    whole: bool = True
    entities: Mapping[str, datetime] = field(default_factory=dict)
    others: datetime | None = None

    def of(self, scores: pa.Table) -> pa.Table:
        """Return those of some scores that may be written."""
        if self.others is None:
            return scores
        names = pa.array(self.entities, pa.string())
        since = pa.array([*self.entities.values(), self.others], TIME)
        place = pc.fill_null(pc.index_in(scores["entity"], value_set=names), len(names))
        return scores.filter(pc.greater_equal(scores["time"], since.take(place.combine_chunks())))


def champion(work: Workspace, stream: Stream, memory: Memory | None = None) -> Champion:
    """Fetch and verify the stream's champion; one that was looked for a moment ago is taken from memory.

    Raises:
        NoChampion: nothing was promoted yet.
        BundleError: its bundle is damaged, or made for other channels.
    """
    if memory and memory.champion and memory.fresh():
        return memory.champion
    version = _version(work, stream.name)
    found = memory.champion if memory else None
    if found is None or found.version != version:
        found = Champion(version, fetch(work, stream, version.version), stream)
    if memory:
        memory.champion, memory.looked = found, time.monotonic()
    return found


def _version(work: Workspace, name: str) -> Version:
    if (version := work.registry.champion(name)) is None:
        raise NoChampion(f"{name} has no champion yet: run `offbeat train {name}`")
    return version


def fetch(work: Workspace, stream: Stream, version: int) -> Bundle:
    """Fetch and verify a version's bundle, for the stream as it is configured now.

    A workspace that stays open keeps the newest ones: a version never changes.
    """
    key = (stream.name, version)
    if key not in work.bundles:
        folder = work.registry.download(stream.name, version, work.home.bundles)
        work.bundles[key] = Bundle.load(folder, stream=stream)
        while len(work.bundles) > KEPT:
            del work.bundles[next(iter(work.bundles))]
    return work.bundles[key]


def shard_name(stream: Stream, shard: int) -> str:
    """Return the name of the cursor that says how far a shard was scored."""
    return f"score.{shard}/{stream.shards}"


def shard_cursors(work: Workspace, stream: Stream) -> list[dict[str, Any]]:
    """Return how far each shard was scored, by its cursor; nothing before every shard was."""
    seen = [cursor(work.database, stream.name, shard_name(stream, shard)) for shard in range(stream.shards)]
    return seen if all(seen) else []


def plan(
    work: Workspace,
    name: str,
    start: datetime | None = None,
    end: datetime | None = None,
    memory: Memory | None = None,
) -> list[dict[str, Any]]:
    """Return the shards that have something to score, as arguments for `score`.

    Raises:
        NoChampion: there is no model to score with.
    """
    stream = work.stream(name)
    if start and end and start >= end:
        raise DataError(f"nothing lies from {start.isoformat()} to {end.isoformat()}: the end comes first")
    version = champion(work, stream, memory).version if memory else _version(work, name)
    batch = work.observations(stream).state().batch
    done = {"batch": batch, "version": version.version}
    ranges = {"start": start and start.isoformat(), "end": end and end.isoformat()}
    return [
        {"shard": shard, **ranges}
        for shard in range(stream.shards)
        if start or end or not done.items() <= cursor(work.database, name, shard_name(stream, shard)).items()
    ]


def score(
    work: Workspace,
    name: str,
    *,
    shard: int = 0,
    start: datetime | None = None,
    end: datetime | None = None,
    memory: Memory | None = None,
) -> dict[str, Any]:
    """Score one shard of stream `name`, what is new or [start, end), and store the scores.

    A process that stays hands in a `memory`, so that it need not make again what it has made before.
    """
    stream, memory = work.stream(name), memory or Memory()
    with log.unit("score", stream=name, shard=shard) as line:
        store, best = work.observations(stream), champion(work, stream, memory)
        state = store.state()
        seen = cursor(work.database, name, shard_name(stream, shard))
        live = start is None and end is None
        whence = _Open(start) if start else _resume(work, stream, seen, best)
        begin = whence.begin
        counts = {"rows": 0, "flags": 0, "added": 0, "changed": 0}
        done = {"batch": seen.get("batch", 0), "version": best.version.version}
        known = memory.shard(shard, **done) if live else None
        if known and not whence.whole:
            known.lanes = None
        if state.watermark is not None and begin <= state.watermark:
            for table in _scored(work, stream, best, shard, begin, end, state.watermark, known):
                table = whence.of(table)
                written = work.scores(stream).write(table)
                counts["rows"] += len(table)
                counts["flags"] += pc.sum(table["flag"]).as_py() or 0
                counts["added"] += written.added
                counts["changed"] += written.changed
        if live and state.watermark is not None:
            # After the scores: killed before this line, the next run scores the same rows again.
            reached = {"watermark": state.watermark.isoformat(), "batch": state.batch}
            reached["at"] = clock.now().isoformat()
            reached["from"] = _unflagged(work, name, seen, begin).isoformat()
            set_cursor(
                work.database, name, shard_name(stream, shard), reached | {"version": best.version.version}
            )
            if known:
                memory.keep(shard, known, batch=state.batch)
        line |= {**counts, "version": best.version.version, "from": begin.isoformat()}
    return {"stream": name, **line}


def _resume(work: Workspace, stream: Stream, seen: dict[str, Any], best: Champion) -> _Open:
    """Return where live scoring goes on, whichever version is champion now.

    A record that is behind the newest of its entity by `lateness` at most changes the scores that it touches:
    those of its own machine; those of all cards, but none before `lateness`. One further behind changes none.
    A machine that lags behind the others is scored from its first new record on, though not before what the
    champion has learned from.
    """
    if not seen:
        return _Open(best.trained_until)
    store, settle = work.observations(stream), best.scorer.settle
    newest, sensor = datetime.fromisoformat(seen["watermark"]), stream.kind == "sensor"
    # what lies there already is final, but that several transactions may come at one moment
    edge = newest - settle + (_INSTANT if sensor else timedelta(0))
    oldest = store.earliest(after=seen["batch"])
    if oldest is None or oldest >= newest:
        return _Open(edge)
    came = store.arrivals(after=seen["batch"])
    since = {entity: min(arrival.first - settle, edge) for entity, arrival in came.items()}
    usual = newest - stream.lateness - settle
    begin = max(min(since.values(), default=edge), min(usual, best.trained_until))
    return _Open(begin, begin <= oldest - settle, since, edge if sensor else max(begin, usual))


def _unflagged(work: Workspace, name: str, seen: dict[str, Any], begin: datetime) -> datetime:
    """Return from when scores wait to be looked at: from the last run's, if flagging did not follow it."""
    flagged = cursor(work.database, name, FLAGGED).get("batch")
    if not seen or flagged is None or flagged >= seen["batch"]:
        return begin
    return min(begin, datetime.fromisoformat(seen["from"]))


def _scored(
    work: Workspace,
    stream: Stream,
    best: Champion,
    shard: int,
    begin: datetime,
    end: datetime | None,
    watermark: datetime,
    known: Shard | None,
) -> Iterator[pa.Table]:
    """Score [begin, end) piece by piece; a piece brings the context it needs, so cuts change nothing."""
    scorer, store = best.scorer, work.observations(stream)
    sensor = stream.kind == "sensor"
    rows, stop = max(CELLS // len(stream.channels), 1), watermark + _INSTANT
    for first, last in store.pieces(begin, min(end or stop, stop), rows):
        until = min(last + scorer.settle, stop)
        ready = known is not None and scorer.reaches(known.lanes, first)
        records = store.read(first - (scorer.preparer.context if ready else scorer.context), until)
        records = _shard(records, shard, stream.shards) if sensor else records
        final = min(until, watermark) if sensor else None
        if sensor and known:
            judged, known.lanes = scorer.follow(records, known.lanes, start=first, until=final)
        else:
            judged = scorer.judge(
                records, start=first, until=final, mine=lambda e: shard_of(e, stream.shards) == shard
            )
        table = tabulate(judged, stream.channels, start=first, version=best.version.version)
        yield table.filter(pc.less(table["time"], pa.scalar(last, TIME)))


def _shard(records: pa.Table, shard: int, shards: int) -> pa.Table:
    if shards == 1:
        return records
    names = pc.unique(records["entity"])
    mine = [name for name in names.to_pylist() if shard_of(name, shards) == shard]
    return records.filter(pc.is_in(records["entity"], pa.array(mine, pa.string())))
