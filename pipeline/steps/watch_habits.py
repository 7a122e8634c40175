"""What is usual for a stream and its entities, learned from stored history, once a day of its own time.

In: observations. Out: `Habits`, kept as a cursor. Learned again when the day or the configuration changes.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import log
from pipeline.config.models import SensorStream, parse_time
from pipeline.detect.watchdogs import Habits
from pipeline.detect.watchdogs_habits import Gaps, Runs, lags, learn_gaps, learn_runs
from pipeline.detect.watchdogs_state import Habit
from pipeline.steps.watch_readings import coded, floats, groups
from pipeline.store.leases import cursor, set_cursor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.config.models import Stream
    from pipeline.store.observations import ObservationStore
    from pipeline.workspace import Workspace

ROWS = 5_000_000  # of history, the latest: bounds memory
PIECES = 8  # that the latest are cut into, so that no sliver is all of it
CELLS = 5_000_000  # of channels at once
LEARNED = "watch.habits"
"""Cursor of what was learned, from which history and for which configuration."""
EVERY = timedelta(days=1)
_INSTANT = timedelta(microseconds=1)


def habits_of(work: Workspace, stream: Stream, store: ObservationStore, watermark: datetime) -> Habits:
    """Return what is usual, learning it first where that is due."""
    kept = cursor(work.database, stream.name, LEARNED)
    end = min(watermark, parse_time(stream.training.until)) if stream.training.until else watermark
    about = _about(stream)
    if kept and kept["about"] == about and end < _due(kept):
        return Habits.from_json(kept["habits"])
    with log.unit("learn_habits", stream=stream.name) as line:
        habits, begin = _learn(stream, store, end)
        line["entities"] = len(habits.entities)
    learned = {
        "about": about,
        "from": begin.isoformat(),
        "until": end.isoformat(),
        "habits": habits.to_json(),
    }
    set_cursor(work.database, stream.name, LEARNED, learned)
    return habits


def _about(stream: Stream) -> list[Any]:
    """Return what habits depend on beside the records."""
    said = [stream.training.until, str(stream.training.history), stream.watch.silence == "never"]
    if isinstance(stream, SensorStream):
        return [*said, stream.watch.flatline == "never", *stream.channels]
    return said


def _due(kept: dict[str, Any]) -> datetime:
    """Return up to when what was learned holds: a day, or until there is twice as much to learn from."""
    begin, until = datetime.fromisoformat(kept["from"]), datetime.fromisoformat(kept["until"])
    return until + max(min(EVERY, until - begin), _INSTANT)


def _learn(stream: Stream, store: ObservationStore, end: datetime) -> tuple[Habits, datetime]:
    start, stop = end - stream.training.history, end + _INSTANT
    if latest := list(store.pieces(start, stop, max(ROWS // PIECES, 1)))[-PIECES:]:
        start = latest[0][0]
    alone = stream.watch.silence == "never" and not isinstance(stream, SensorStream)
    records = store.read(start, stop, columns=["time"] if alone else ["entity", "time", "batch"])
    time = np.unique(records["time"].cast("int64").to_numpy())
    begin = max(start, end - timedelta(microseconds=int(time[-1] - time[0]))) if len(time) else end
    whole = learn_gaps(time, np.zeros(0, np.int64))
    if alone:
        return Habits(whole), begin
    names, begins, time = coded(records)
    code = np.repeat(np.arange(len(names)), np.diff(begins))
    lag = lags(code, time, records["batch"].to_numpy())
    spans = [slice(a, b) for a, b in pairwise(begins)]
    del records, code
    gaps = [learn_gaps(time[at], lag[i]) for i, at in enumerate(spans)]
    runs = _runs(stream, store, start, stop, time, spans)
    made = zip(names, spans, gaps, runs, strict=True)
    return Habits(whole, {name: _habit(time[at], gap, run) for name, at, gap, run in made}), begin


def _habit(time: NDArray[np.int64], gaps: Gaps | None, runs: dict[str, Runs]) -> Habit:
    return Habit(gaps, runs, int(time[-1] - time[0]))


def _runs(
    stream: Stream,
    store: ObservationStore,
    start: datetime,
    stop: datetime,
    time: NDArray[np.int64],
    spans: list[slice],
) -> list[dict[str, Runs]]:
    """Return, for each entity, how long each of its channels that move stays at one value."""
    out: list[dict[str, Runs]] = [{} for _ in spans]
    if not isinstance(stream, SensorStream) or stream.watch.flatline == "never":
        return out
    for channels in groups(stream.channels, max(CELLS // max(len(time), 1), 1)):
        records = store.read(start, stop, columns=channels)
        for channel in channels:
            values = floats(records, channel)
            for learned, at in zip(out, spans, strict=True):
                real = np.isfinite(values[at])
                if (usual := learn_runs(time[at][real], values[at][real])) is not None:
                    learned[channel] = usual
    return out
