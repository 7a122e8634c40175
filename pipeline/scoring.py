"""Scoring: where prepare, models and detect meet. Raw records in, judged rows out; pure, with one bundle.

The pipeline, MLflow's serving and the command line all score through here: there is no second path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pipeline.detect import Detector, RowMeans, Scored, channel_errors, contributions, squared_errors
from pipeline.models.windows import hide_latest
from pipeline.prepare import Preparer, Series, Windows, load_preparer
from pipeline.schemas import SCORES, TIME

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.config.models import Stream
    from pipeline.models.bundle import Bundle

    Reconstruct = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]

CHUNK = 4096  # windows reconstructed at once: bounds memory, changes no number
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(moment: datetime) -> int:
    """Return an aware time as microseconds since 1970, UTC."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(us: int) -> datetime:
    """Return microseconds since 1970 as an aware time, UTC."""
    return _EPOCH + us * _MICROSECOND


@dataclass(frozen=True)
class Rows:
    """One series with what the model made of it: errors and expected values per channel [T, C]."""

    series: Series
    errors: NDArray[np.float32]
    expected: NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """Rows with their scores."""

    rows: Rows
    scored: Scored


def reconstruct(
    stream: Stream,
    preparer: Preparer,
    series: Sequence[Series],
    model: Callable[[str], Reconstruct],
    *,
    since: int | None = None,
) -> list[Rows]:
    """Reconstruct series and say how far off each row is.

    Args:
        stream: gives window length, stride and delay.
        preparer: fitted; undoes the scaling.
        series: of any entities, with the context before `since`.
        model: from an entity's name to what reconstructs its windows.
        since: microseconds UTC; rows before it may stay without a number.
    """
    out: list[Rows] = []
    for entity, group in _by_model(series, model):
        out += _rows(stream, preparer, group, entity, since)
    return out


def _by_model(
    series: Sequence[Series], model: Callable[[str], Reconstruct]
) -> list[tuple[Reconstruct, list[Series]]]:
    groups: dict[int, tuple[Reconstruct, list[Series]]] = {}
    for each in series:
        made = model(each.entity)
        groups.setdefault(id(made), (made, []))[1].append(each)
    return list(groups.values())


def windows_of(
    stream: Stream, preparer: Preparer, series: Sequence[Series], since: int | None = None
) -> Windows:
    """Cut series into the stream's windows."""
    cut, reach = stream.window, preparer.window_reach
    return Windows(
        series,
        cut.length,
        cut.stride,
        step_us=preparer.step_us,
        fresh=cut.delay + 1,
        since=since,
        reach_us=reach // _MICROSECOND if reach else None,
    )


def _rows(
    stream: Stream, preparer: Preparer, series: Sequence[Series], model: Reconstruct, since: int | None
) -> list[Rows]:
    windows = windows_of(stream, preparer, series, since)
    offsets = np.concatenate([[0], np.cumsum([len(s) for s in series])])
    of = preparer.features_
    means = RowMeans(int(offsets[-1]), len(of), delay=stream.window.delay, stride=stream.window.stride)
    ends = offsets[windows.series_index] + windows.end
    for begin in range(0, len(windows), CHUNK):
        chunk = slice(begin, begin + CHUNK)
        values, mask = windows.gather(chunk)
        means.add(ends[chunk], mask, model(values, hide_latest(mask, stream.model.hide)))
    made = means.reconstruction()
    spans = (slice(a, b) for a, b in pairwise(offsets))
    return [_compare(stream, preparer, s, made[span]) for s, span in zip(series, spans, strict=True)]


def _compare(stream: Stream, preparer: Preparer, series: Series, made: NDArray[np.float32]) -> Rows:
    errors = squared_errors(series.values, made)
    by_channel = channel_errors(errors, preparer.features_.channel_of, len(stream.channels))
    return Rows(series, by_channel, preparer.expected(series, made))


@dataclass(frozen=True)
class Scorer:
    """A bundle ready to judge a stream's records."""

    stream: Stream
    preparer: Preparer
    detector: Detector
    model: Callable[[str], Reconstruct]

    @classmethod
    def of(cls, bundle: Bundle, stream: Stream | None = None) -> Scorer:
        """Restore preparer and detector from a bundle; BundleError if they do not match the stream."""
        stream = stream or bundle.stream
        return cls(
            stream,
            load_preparer(stream, bundle.preparer),
            Detector.from_dict(bundle.detector),
            bundle.reconstructor,
        )

    @property
    def smoothing(self) -> timedelta:
        """Earlier scores that the first score needs."""
        step = self.preparer.step_us
        return self.detector.context_rows * step * _MICROSECOND if step else timedelta(0)

    @property
    def context(self) -> timedelta:
        """Earlier records that the first score needs to be the same as if everything had been given."""
        return self.preparer.context + self.smoothing

    @property
    def settle(self) -> timedelta:
        """How much later than a row the data must reach before the row's score is final."""
        step = self.preparer.step_us
        return (self.stream.window.delay + 1) * step * _MICROSECOND if step else timedelta(0)

    def judge(
        self, records: pa.Table, *, start: datetime | None = None, until: datetime | None = None
    ) -> list[Judged]:
        """Score records; `start` needs `context` before it, cells that end after `until` wait."""
        series = self.preparer.transform(records, until=micros(until) if until else None)
        since = micros(start - self.smoothing) if start else None
        made = reconstruct(self.stream, self.preparer, series, self.model, since=since)
        return [Judged(rows, self.detector.score(rows.errors)) for rows in made]


def score_table(
    bundle: Bundle,
    records: pa.Table,
    *,
    stream: Stream | None = None,
    start: datetime | None = None,
    until: datetime | None = None,
    version: int = 0,
) -> pa.Table:
    """Score raw records into rows of schema SCORES, in order of entity and time.

    A row is there once its score is final; rows in a gap are left out. Scoring in slices gives the
    same rows as scoring whole, as long as each slice brings `Scorer.context` before `start`.
    """
    scorer = Scorer.of(bundle, stream)
    first = micros(start) if start else None
    parts = [
        _table(judged, scorer.stream.channels, first, version)
        for judged in scorer.judge(records, start=start, until=until)
    ]
    return pa.concat_tables(parts) if parts else SCORES.empty_table()


def _table(judged: Judged, channels: Sequence[str], first: int | None, version: int) -> pa.Table:
    series, scored = judged.rows.series, judged.scored
    keep = ~np.isnan(scored.score)
    if first is not None:
        keep &= series.time >= first
    time = pa.array(series.time[keep], pa.int64()).cast(TIME)
    count, ids = len(time), series.ids
    return pa.table(
        {
            "entity": pa.array([series.entity]).take(pa.array(np.zeros(count, np.int64))),
            "time": time,
            "id": pa.nulls(count, pa.string()) if ids is None else pa.array(ids[keep], pa.string()),
            "score": scored.score[keep],
            "raw": scored.raw[keep],
            "flag": scored.flag[keep],
            "contributions": contributions(
                scored.share[keep], judged.rows.expected[keep], series.actual[keep], channels
            ),
            "version": pa.array(np.full(count, version, np.int32)),
            "date": time.cast(pa.date32()),
        },
        schema=SCORES,
    )
