"""Series to look at: any stretch of a stream, however long, in as many points as a screen can show.

In: a stream, an entity, from when to when. Out: JSON-able series of times (ms since 1970) and values, None
where there is a gap. A short stretch is read as it is stored, a long one from the pyramid of its table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tsdownsample import MinMaxLTTBDownsampler

from pipeline.alerts.render import firing_title
from pipeline.config.models import SensorStream
from pipeline.errors import DataError
from pipeline.scoring import micros
from pipeline.steps.scene import restore
from pipeline.store import anomalies
from pipeline.store.pyramid import LEVELS, Day, Pyramid
from pipeline.store.scores import newest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.config.models import Stream
    from pipeline.events import Anomaly
    from pipeline.workspace import Workspace

RAW_ROWS = 200_000  # of all entities, up to which a stretch is read as it is stored
BUCKETS = 40_000  # rows of a level that are read at most for one entity; a year of hours is 8,760
AT_ONCE = 3  # days whose levels are made while somebody waits
POINTS, MOST_POINTS = 1500, 5000
CHANNELS = 3  # shown where nobody says which
MOST_CHANNELS = 12
SCORED_AGAIN = 20_000  # rows of a stretch that the model is asked again about, at most
ANOMALIES = 500
_INSTANT = timedelta(microseconds=1)
_THIN: Any = MinMaxLTTBDownsampler()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Stretch:
    """Whose series, from when to when (aware, end exclusive), which channels, in how many points each."""

    entity: str
    start: datetime
    end: datetime
    channels: tuple[str, ...]
    points: int = POINTS


def drawn(stream: Stream) -> tuple[str, ...]:
    """Return the channels that can be drawn: of transactions, the amount."""
    return stream.channels if isinstance(stream, SensorStream) else ("amount",)


def observed(work: Workspace, stream: Stream) -> Pyramid:
    """Open the pyramid of a stream's observations."""
    uri = work.home.table(stream.name, "observations")
    return Pyramid(uri, _folder(work, stream, "observations"), drawn(stream))


def scored(work: Workspace, stream: Stream) -> Pyramid:
    """Open the pyramid of a stream's scores; of cards it holds all together."""
    return Pyramid(
        work.home.table(stream.name, "scores"),
        _folder(work, stream, "scores"),
        ("score",),
        entities=isinstance(stream, SensorStream),
    )


def _folder(work: Workspace, stream: Stream, table: str) -> Any:
    return work.home.page / stream.name / table


def make_levels(work: Workspace, name: str, *, most: int | None = None) -> dict[str, int]:
    """Make what is missing of a stream's levels, the newest day first. Returns counts: `made`, `waits`.

    Tables that are read whole quicker than that have none, but for scores: every page shows those of a week.
    """
    stream, made, waits = work.stream(name), 0, 0
    for pyramid in (scored(work, stream), observed(work, stream)):
        if pyramid.table is None:
            continue
        days = pyramid.days(_EPOCH, _FAR)
        if "score" not in pyramid.values and not _worth(stream, days):
            continue
        missing = list(reversed(pyramid.missing(days)))
        now = missing if most is None else missing[: max(most - made, 0)]
        for day in now:
            pyramid.build(day)
        made, waits = made + len(now), waits + len(missing) - len(now)
        if now:
            pyramid.sweep()
    return {"made": made, "waits": waits}


def _worth(stream: Stream, days: Sequence[Day]) -> bool:
    return isinstance(stream, SensorStream) and sum(day.rows for day in days) > RAW_ROWS


def series(work: Workspace, name: str, stretch: Stretch) -> dict[str, Any]:
    """Return the channels, the score and the anomalies of a stretch.

    `waits` is how many days are not shown yet because their levels have still to be made: ask again.

    Raises:
        DataError: the end is not after the start, or a channel is none of the stream's.
    """
    stream = work.stream(name)
    _check(stream, stretch)
    signals, width, waits = _signals(work, stream, stretch)
    score, more = _score(work, stream, stretch)
    found = anomalies.list_anomalies(
        work.database,
        stream=name,
        entity=stretch.entity,
        since=stretch.start,
        until=stretch.end,
        limit=ANOMALIES,
    )
    return {
        "stream": name,
        "entity": stretch.entity,
        "from": stretch.start.isoformat(),
        "to": stretch.end.isoformat(),
        "seconds": width,
        "waits": max(waits, more),
        "channels": signals,
        "score": score,
        "anomalies": [_shade(each) for each in found],
    }


def _check(stream: Stream, stretch: Stretch) -> None:
    if stretch.start >= stretch.end:
        raise DataError(
            f"nothing lies from {stretch.start.isoformat()} to {stretch.end.isoformat()}: the end comes first"
        )
    known = drawn(stream)
    for channel in stretch.channels:
        if channel not in known:
            raise DataError(f"{stream.name} has no channel {channel!r}; it has {', '.join(known)}")


def _shade(each: Anomaly) -> dict[str, Any]:
    kept = ("id", "start", "end", "severity", "status", "kind", "peak_score")
    plain = each.to_json()
    return {name: plain[name] for name in kept} | {"line": firing_title(each)}


def _signals(
    work: Workspace, stream: Stream, stretch: Stretch
) -> tuple[list[dict[str, Any]], int | None, int]:
    """Return the channels, seconds that a point stands for (None: as stored), and days that still wait."""
    pyramid = observed(work, stream)
    days = pyramid.days(stretch.start, stretch.end)
    if _short(stream, stretch, days):
        rows = work.observations(stream).read(
            stretch.start, stretch.end, entities=[stretch.entity], columns=["time", *stretch.channels]
        )
        time, gap = _micros(rows["time"]), _gap(stream)
        return (
            [
                _thinned(c, stream.units.get(c, ""), time, _floats(rows[c]), gap, stretch.points)
                for c in stretch.channels
            ],
            None,
            0,
        )
    width, waits = _width(stretch), make_some(pyramid, days)
    level = pyramid.read(
        stretch.start, stretch.end, width, entity=stretch.entity, values=stretch.channels, days=days
    )
    return (
        [_between(c, stream.units.get(c, ""), level, width, stretch.points) for c in stretch.channels],
        width,
        waits,
    )


def _score(work: Workspace, stream: Stream, stretch: Stretch) -> tuple[dict[str, Any], int]:
    pyramid = scored(work, stream)
    days = pyramid.days(stretch.start, stretch.end)
    if _short(stream, stretch, days):
        rows = work.scores(stream).read(
            stretch.start,
            stretch.end,
            entities=[stretch.entity],
            columns=["entity", "time", "id", "score", "version"],
        )
        rows = newest(rows)
        time = _micros(rows["time"])
        return _thinned("score", "", time, _floats(rows["score"]), _gap(stream), stretch.points), 0
    width, waits = _width(stretch), make_some(pyramid, days)
    level = pyramid.read(stretch.start, stretch.end, width, entity=stretch.entity, days=days)
    time, most = _micros(level["time"]), _floats(level["score.max"])
    return _thinned("score", "", time, most, 1_500_000 * width, stretch.points), waits


def _short(stream: Stream, stretch: Stretch, days: Sequence[Day]) -> bool:
    """Tell whether a stretch has so few rows, of all entities, that it is read as it is stored."""
    part = (stretch.end - stretch.start) / (len(days) * timedelta(days=1)) if days else 0.0
    return not isinstance(stream, SensorStream) or sum(day.rows for day in days) * min(part, 1) <= RAW_ROWS


def _width(stretch: Stretch) -> int:
    """Return the finest level that has not too many rows."""
    seconds = (stretch.end - stretch.start).total_seconds()
    return next((width for width in LEVELS if seconds / width <= BUCKETS), LEVELS[-1])


def make_some(pyramid: Pyramid, days: Sequence[Day]) -> int:
    """Make the levels of a few days while somebody waits; return for how many more they wait."""
    missing = list(reversed(pyramid.missing(days)))
    for day in missing[:AT_ONCE]:
        pyramid.build(day)
    return len(missing[AT_ONCE:])


def _gap(stream: Stream) -> int:
    """Return the microseconds without a reading after which a line is broken."""
    if not isinstance(stream, SensorStream):
        return 2**62
    return (stream.grid.hold + 1) * stream.grid.step // _INSTANT + 1


def _between(name: str, unit: str, level: pa.Table, width: int, points: int) -> dict[str, Any]:
    """Return a line that touches the least and the most of each bucket."""
    at = _micros(level["time"])
    half = width * 500_000
    time = np.stack([at, at + half], axis=1).ravel()
    value = np.stack([_floats(level[f"{name}.{side}"]) for side in ("min", "max")], axis=1).ravel()
    return _thinned(name, unit, time, value, 3 * half, points)


def _thinned(
    name: str, unit: str, time: NDArray[np.int64], value: NDArray[np.float64], gap: int, points: int
) -> dict[str, Any]:
    """Return a series in at most `points` points that keep its shape, and None where there is a gap."""
    known = np.isfinite(value)
    time, value = time[known], value[known]
    piece = np.concatenate([[0], np.cumsum(np.diff(time) > gap)]) if len(time) else np.zeros(0, np.int64)
    if len(time) > points:
        kept = _THIN.downsample(time, value, n_out=points)
        time, value, piece = time[kept], value[kept], piece[kept]
    breaks = np.flatnonzero(np.diff(piece)) + 1
    at = np.insert(time // 1000, breaks, time[breaks] // 1000 - 1) if len(breaks) else time // 1000
    shown = np.insert(_rounded(value), breaks, np.nan)
    return {
        "name": name,
        "unit": unit,
        "time": at.tolist(),
        "value": [v if math.isfinite(v) else None for v in shown.tolist()],
    }


def _rounded(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values to six digits of the largest: more cannot be seen, and would be sent."""
    largest = float(np.max(np.abs(value), initial=0.0))
    return np.round(value, 6 - int(np.ceil(np.log10(largest)))) if largest > 0 else value


def _micros(times: pa.ChunkedArray) -> NDArray[np.int64]:
    return np.asarray(times.cast(pa.int64()).to_numpy(), np.int64)


def _floats(values: pa.ChunkedArray) -> NDArray[np.float64]:
    return np.asarray(pc.fill_null(values.cast(pa.float64()), np.nan).to_numpy(), np.float64)


def expected(work: Workspace, name: str, stretch: Stretch) -> dict[str, Any]:
    """Return what the champion expected of each channel, by asking it again; `why` where it is not asked.

    Raises:
        NoChampion, BundleError: there is no model to ask.
        DataError: as `series`.
    """
    stream = work.stream(name)
    _check(stream, stretch)
    nothing: dict[str, Any] = {"version": None, "channels": []}
    if (best := work.registry.champion(name)) is None:
        return nothing | {"why": "there is no model yet"}
    if isinstance(stream, SensorStream) and (stretch.end - stretch.start) / stream.grid.step > SCORED_AGAIN:
        return nothing | {"why": "too long to ask the model again: zoom in"}
    scorer = restore(work, name, best.version)
    records = work.observations(stream).read(
        stretch.start - scorer.context, stretch.end, entities=[stretch.entity]
    )
    if len(records) > 4 * SCORED_AGAIN:
        return nothing | {"why": "too many records to ask the model again: zoom in"}
    judged = scorer.judge(records, start=stretch.start)
    time = np.concatenate([j.rows.series.time for j in judged] or [np.zeros(0, np.int64)])
    shown = (time >= micros(stretch.start)) & (time < micros(stretch.end))
    lines = []
    for channel in stretch.channels:
        column = stream.channels.index(channel)
        value = np.concatenate([j.rows.expected[:, column] for j in judged] or [np.zeros(0)])
        unit = stream.units.get(channel, "")
        lines.append(
            _thinned(channel, unit, time[shown], value[shown].astype(float), _gap(stream), stretch.points)
        )
    return {"version": best.version, "channels": lines, "why": ""}


_EPOCH = datetime.fromisoformat("1970-01-02T00:00:00+00:00")
_FAR = datetime.fromisoformat("9999-12-30T00:00:00+00:00")
