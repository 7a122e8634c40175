"""Scoring: where prepare, models and detect meet. Raw records in, judged rows out; pure, with one bundle.

The pipeline, MLflow's serving and the command line all score through here: there is no second path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline.detect import (
    Detector,
    Lanes,
    PaymentDetector,
    Payments,
    RowMeans,
    Scored,
    Strip,
    channel_errors,
    contributions,
    squared_errors,
)
from pipeline.detect.lanes import judge as judge_side_by_side
from pipeline.detect.lanes import remember
from pipeline.models.windows import hide_latest
from pipeline.prepare import Preparer, SensorPreparer, Series, Windows, load_preparer
from pipeline.schemas import SCORES, TIME

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.config.models import Stream
    from pipeline.models.bundle import Bundle

    Reconstruct = Callable[[NDArray[np.float32], NDArray[np.float32]], dict[str, NDArray[np.float32]]]

LATE = 1024  # rows beyond what looks reach back to that are remembered for late records, at most
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
    """One series with what the model made of it.

    errors: squared, per view and channel [V, T, C], each view twice where channels have a season; expected:
    in own units, the mean of the views [T, C].
    """

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
    shape, cut = (int(offsets[-1]), len(preparer.features_)), stream.window
    means: dict[str, RowMeans] = {}
    ends = offsets[windows.series_index] + windows.end
    for begin in range(0, max(len(windows), 1), CHUNK):
        chunk = slice(begin, begin + CHUNK)
        values, mask = windows.gather(chunk)
        for view, made in model(values, hide_latest(mask, stream.model.hide)).items():
            if view not in means:
                means[view] = RowMeans(*shape, delay=cut.delay, stride=cut.stride)
            means[view].add(ends[chunk], mask, made)
    views = [rows.reconstruction() for rows in means.values()]
    spans = (slice(a, b) for a, b in pairwise(offsets))
    return [
        _compare(stream, preparer, s, [made[span] for made in views])
        for s, span in zip(series, spans, strict=True)
    ]


def _compare(
    stream: Stream, preparer: Preparer, series: Series, views: Sequence[NDArray[np.float32]]
) -> Rows:
    features, count = preparer.features_, len(stream.channels)
    squared = [squared_errors(series.values, made) for made in views]
    if features.aspects:
        errors = [off[:, shown] for off in squared for shown in features.aspects]
    else:
        errors = [channel_errors(off, features.channel_of, count) for off in squared]
    mean = sum(views[1:], start=views[0]) / len(views)
    return Rows(series, np.stack(errors), preparer.expected(series, mean))


def payments(rows: Sequence[Rows]) -> Payments:
    """Return series of transactions as their detector takes them: end to end."""
    series = [r.series for r in rows]
    return Payments(
        entity=np.repeat(np.arange(len(series)), [len(s) for s in series]),
        time=np.concatenate([s.time for s in series]),
        errors=np.concatenate([r.errors[0] for r in rows]),
        amount=np.concatenate([s.actual[:, 0] for s in series]),
        foreseen=np.concatenate([r.expected[:, 0] for r in rows]),
        evidence=np.concatenate([s.evidence for s in series if s.evidence is not None]),
        label=_end_to_end([s.label for s in series]),
    )


def score_series(detector: Detector | PaymentDetector, rows: Sequence[Rows]) -> list[Scored]:
    """Score series with the detector of their kind of stream."""
    if isinstance(detector, Detector):
        return [detector.score(r.errors) for r in rows]
    if not rows:
        return []
    whole = detector.score(payments(rows))
    ends = np.cumsum([len(r.series) for r in rows]).tolist()
    return [
        Scored(whole.score[a:b], whole.raw[a:b], whole.share[a:b], whole.flag[a:b])
        for a, b in pairwise([0, *ends])
    ]


def _end_to_end(parts: Sequence[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if known else None


def load_detector(stream: Stream, saved: Mapping[str, Any]) -> Detector | PaymentDetector:
    """Restore a detector from `to_dict`; BundleError where it is damaged or of another kind of stream."""
    return (Detector if stream.kind == "sensor" else PaymentDetector).from_dict(saved)


@dataclass(frozen=True)
class Scorer:
    """A bundle ready to judge a stream's records."""

    stream: Stream
    preparer: Preparer
    detector: Detector | PaymentDetector
    model: Callable[[str], Reconstruct]

    @classmethod
    def of(cls, bundle: Bundle, stream: Stream | None = None) -> Scorer:
        """Restore preparer and detector from a bundle; BundleError if they do not match the stream."""
        stream = stream or bundle.stream
        return cls(
            stream,
            load_preparer(stream, bundle.preparer),
            load_detector(stream, bundle.detector),
            bundle.reconstructor,
        )

    @property
    def spreads(self) -> dict[str, float]:
        """How far expected and actual usually are apart, in each channel's own unit; nothing of payments."""
        if not (isinstance(self.detector, Detector) and isinstance(self.preparer, SensorPreparer)):
            return {}
        usual = self.preparer.in_units(self.detector.scale_[0])  # of the first view, without the season
        return dict(zip(self.stream.channels, usual.tolist(), strict=True))

    @property
    def smoothing(self) -> timedelta:
        """Earlier scores that the first score needs."""
        if isinstance(self.detector, PaymentDetector):
            return self.detector.memory
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
        rows = self.stream.window.delay + 1 + self._later_rows
        return rows * step * _MICROSECOND if step else timedelta(0)

    def judge(
        self,
        records: pa.Table,
        *,
        start: datetime | None = None,
        until: datetime | None = None,
        mine: Callable[[str], bool] | None = None,
    ) -> list[Judged]:
        """Score records; `start` needs `context` before it, cells that end after `until` wait.

        A row that a look still waits for has no score yet: NaN. `until` may lie after the last record.
        Entities that are not `mine` are not scored; what they paid at the same terminals counts still.
        """
        made = self._made(records, start and start - self.smoothing, until, mine)
        return self._judged(made, score_series(self.detector, made), until)

    def follow(
        self,
        records: pa.Table,
        lanes: Lanes | None,
        *,
        start: datetime,
        until: datetime | None = None,
        mine: Callable[[str], bool] | None = None,
    ) -> tuple[list[Judged], Lanes | None]:
        """Judge records of sensors as `judge` does, and remember what the next call need not make again.

        With `lanes` that `reaches` says yes of, `records` go back by the preparer's context alone. Lanes must
        be of this scorer, and no row before `start` may have changed since.
        """
        assert isinstance(self.detector, Detector)
        step, keep = self.preparer.step_us or 1, self._kept_rows
        if not self.reaches(lanes, start) or lanes is None:
            since = start - self.smoothing
            made = self._made(records, since, until, mine)
            left = remember(self.detector, _strips(made, step), _cell(since, step), keep)
            return self._judged(made, score_series(self.detector, made), until), left
        made = self._made(records, start, until, mine)
        first = _cell(start, step)
        scored, left = judge_side_by_side(self.detector, _strips(made, step), first, lanes, keep)
        return self._judged([_from(rows, first * step) for rows in made], scored, until), left

    def reaches(self, lanes: Lanes | None, start: datetime) -> bool:
        """Tell whether what is remembered is enough to judge rows from `start` on."""
        if lanes is None or not isinstance(self.detector, Detector):
            return False
        return lanes.reaches(_cell(start, self.preparer.step_us or 1), self.detector.context_rows)

    @property
    def _kept_rows(self) -> int:
        """Rows to remember: what looks reach back to, from the earliest row that may yet change."""
        assert isinstance(self.detector, Detector)
        late = self.stream.lateness // ((self.preparer.step_us or 1) * _MICROSECOND)
        return self.detector.context_rows + self.stream.window.delay + 2 + self._later_rows + min(late, LATE)

    def _made(
        self,
        records: pa.Table,
        since: datetime | None,
        until: datetime | None,
        mine: Callable[[str], bool] | None,
    ) -> list[Rows]:
        series = self.preparer.transform(records, until=micros(until) if until else None)
        series = series if mine is None else [s for s in series if mine(s.entity)]
        begin = None if since is None else micros(since)
        return reconstruct(self.stream, self.preparer, series, self.model, since=begin)

    def _judged(self, made: Sequence[Rows], scored: Sequence[Scored], until: datetime | None) -> list[Judged]:
        final = self._final([rows.series for rows in made], until)
        return [
            Judged(rows, _settled(each, rows.series.time <= final))
            for rows, each in zip(made, scored, strict=True)
        ]

    def _final(self, series: Sequence[Series], until: datetime | None) -> int:
        """Return the last time, microseconds UTC, whose looks have all the rows they wait for."""
        newest = max((int(s.time[-1]) for s in series if len(s)), default=0)
        step = self.preparer.step_us
        if not step or not self._later_rows:
            return newest
        last = (micros(until) // step - 1) * step if until else newest
        return last - (self.stream.window.delay + self._later_rows) * step

    @property
    def _later_rows(self) -> int:
        return self.detector.later_rows if isinstance(self.detector, Detector) else 0


def _cell(moment: datetime, step: int) -> int:
    """Return the number of the first cell that begins at `moment` or later."""
    return -(-micros(moment) // step)


def _strips(made: Sequence[Rows], step: int) -> list[Strip]:
    return [Strip(r.series.entity, int(r.series.time[0]) // step, r.errors) for r in made]


def _from(rows: Rows, since: int) -> Rows:
    """Return the rows from `since` on (microseconds UTC)."""
    first = int(np.searchsorted(rows.series.time, since))
    return Rows(rows.series.rows(first, len(rows.series)), rows.errors[:, first:], rows.expected[first:])


def _settled(scored: Scored, final: NDArray[np.bool_]) -> Scored:
    if final.all():
        return scored
    score = np.where(final, scored.score, np.float32(np.nan))
    return replace(scored, score=score, flag=scored.flag & final)


def score_table(
    bundle: Bundle,
    records: pa.Table,
    *,
    stream: Stream | None = None,
    start: datetime | None = None,
    until: datetime | None = None,
    mine: Callable[[str], bool] | None = None,
    version: int = 0,
) -> pa.Table:
    """Score raw records into rows of schema SCORES, in order of entity and time.

    A row is there once its score is final; rows in a gap are left out. Scoring in slices gives the
    same rows as scoring whole, as long as each slice brings `Scorer.context` before `start`, and for
    transactions every entity: `mine` says which of them are scored.
    """
    scorer = Scorer.of(bundle, stream)
    judged = scorer.judge(records, start=start, until=until, mine=mine)
    return tabulate(judged, scorer.stream.channels, start=start, version=version)


def tabulate(
    judged: Sequence[Judged], channels: Sequence[str], *, start: datetime | None = None, version: int = 0
) -> pa.Table:
    """Return judged rows from `start` on that have a score, as rows of schema SCORES, in their order."""
    if not judged:
        return SCORES.empty_table()
    series, scored = [j.rows.series for j in judged], [j.scored for j in judged]
    time, score = np.concatenate([s.time for s in series]), np.concatenate([s.score for s in scored])
    keep = ~np.isnan(score)
    if start is not None:
        keep &= time >= micros(start)
    owner = np.repeat(np.arange(len(series)), [len(s) for s in series])[keep]
    moments = pa.array(time[keep], pa.int64()).cast(TIME)
    known = [s.ids for s in series if s.ids is not None]
    ids = pa.array(np.concatenate(known)[keep], pa.string()) if known else pa.nulls(len(owner), pa.string())
    return pa.table(
        {
            "entity": pa.array([s.entity for s in series], pa.string()).take(pa.array(owner)),
            "time": moments,
            "id": ids,
            "score": score[keep],
            "raw": np.concatenate([s.raw for s in scored])[keep],
            "flag": np.concatenate([s.flag for s in scored])[keep],
            "contributions": contributions(
                np.concatenate([s.share for s in scored])[keep],
                np.concatenate([j.rows.expected for j in judged])[keep],
                np.concatenate([s.actual for s in series])[keep],
                channels,
            ),
            "version": pa.array(np.full(len(owner), version, np.int32)),
            "date": moments.cast(pa.date32()),
        },
        schema=SCORES,
    )
