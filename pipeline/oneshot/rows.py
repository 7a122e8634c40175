"""From judged series back to the rows of a table.

In: a layout and a bundle. Out: `RowScores`, a finite score for every row, in the table's order, and the
events among them. Entities are judged in batches, so that memory is bounded by the largest of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.detect import Detector, PaymentDetector, events, onsets
from pipeline.detect.contributions import largest
from pipeline.events import Event
from pipeline.models.bundle import Bundle
from pipeline.oneshot.layout import Layout
from pipeline.scoring import Judged, Scorer, moment

TOP = 3
NUMBERS = 3
"""Channels of transactions that are numbers; categories follow."""
BATCH = 20_000_000
"""Cells, rows times channels, judged at once, unless one entity has more."""
_MICROSECOND = timedelta(microseconds=1)

Ints = NDArray[np.int64]
Singles = NDArray[np.float32]


@dataclass(frozen=True)
class RowScores:
    """What the detector said of each row [N], in the table's order."""

    score: Singles
    """High is anomalous, 1 is the threshold; finite."""
    onset: Singles
    """Sensors: 1 or more where something begins; 0 where nothing does, and for transactions."""
    flag: NDArray[np.bool_]
    """Whether the row is over the threshold and still shows it; never of a row that is not `judged`."""
    judged: NDArray[np.bool_]
    """Whether the row has a score of its own, not its neighbour's."""
    channel: Ints
    """The channels with the largest shares, largest first [N, TOP]; -1 where there is none."""
    share: Singles
    """Of the joint error [N, TOP]."""
    expected: Singles
    """[N, C] in the channels' own units; NaN where nothing is."""
    actual: NDArray[np.float64]
    """Of the channels in `channel` [N, TOP]; NaN where nothing is."""
    drawn: Singles
    """Transactions: amount, pace and time of day [N, 3]. Sensors [N, 0]: their values are the records'."""


def judge_rows(
    layout: Layout, bundle: Bundle, on_rows: Callable[[int, int], None] | None = None
) -> tuple[RowScores, list[Event]]:
    """Score every row of a table, and find its events; their times are the stream's, not the table's."""
    scorer = Scorer.of(bundle, layout.stream)
    until = _until(scorer, layout)
    count, width = layout.records.num_rows, len(layout.stream.channels)
    out = RowScores(
        score=np.full(count, np.nan, np.float32),
        onset=np.zeros(count, np.float32),
        flag=np.zeros(count, np.bool_),
        judged=np.zeros(count, np.bool_),
        channel=np.full((count, TOP), -1, np.int64),
        share=np.full((count, TOP), np.nan, np.float32),
        expected=np.full((count, width), np.nan, np.float32),
        actual=np.full((count, TOP), np.nan),
        drawn=np.full((count, 0 if layout.stream.kind == "sensor" else NUMBERS), np.nan, np.float32),
    )
    done, found = 0, []
    for rows in _batches(layout, max(1, BATCH // max(width, 1))):
        judged = _judge(scorer, layout, rows, until)
        _place(out, layout, rows, judged, scorer.detector)
        found += [event for one in judged for event in _events(layout, one, scorer.preparer.step_us)]
        done += len(rows)
        if on_rows:
            on_rows(done, count)
    out.judged[:] = np.isfinite(out.score)
    out.score[:] = _filled(out.score, layout)
    return out, found


def _judge(scorer: Scorer, layout: Layout, rows: Ints, until: datetime | None) -> list[Judged]:
    """Judge the rows of some entities; a payment is judged with those of others in sight."""
    if len(rows) == layout.records.num_rows:
        return scorer.judge(layout.records, until=until)
    if layout.stream.kind == "transaction":
        mine = {layout.entities[code] for code in np.unique(layout.entity[rows])}
        return scorer.judge(layout.records, until=until, mine=mine.__contains__)
    return scorer.judge(layout.records.take(pa.array(np.sort(rows))), until=until)


def _until(scorer: Scorer, layout: Layout) -> datetime | None:
    """Return so late a moment that the last rows of a table, too, have all that their scores wait for."""
    if scorer.preparer.step_us is None:
        return None
    step = scorer.preparer.step_us * _MICROSECOND
    return moment(int(layout.time.max())) + scorer.settle + (layout.stream.window.stride + 1) * step


def _events(layout: Layout, one: Judged, step_us: int | None) -> list[Event]:
    scored, series = one.scored, one.rows.series
    if not scored.flag.any():
        return []
    return events(
        series.entity,
        series.time,
        scored.score,
        scored.flag,
        scored.raw,
        scored.share,
        one.rows.expected,
        series.actual,
        layout.stream.channels,
        merge_us=layout.stream.alert.merge // _MICROSECOND,
        watermark_us=int(layout.time.max()),
        ids=series.ids,
        step_us=step_us,
    )


def _batches(layout: Layout, most: int) -> Iterator[Ints]:
    """Yield the rows, in order of entity and time, of so many entities as have at most `most` together."""
    edges = np.searchsorted(layout.entity[layout.order], np.arange(len(layout.entities) + 1))
    begin = 0
    for one, end in enumerate(edges[1:]):
        last = one == len(layout.entities) - 1
        if end > begin and (last or edges[one + 2] - begin > most):
            yield layout.order[begin:end]
            begin = int(end)


def _place(
    out: RowScores,
    layout: Layout,
    rows: Ints,
    judged: Sequence[Judged],
    detector: Detector | PaymentDetector,
) -> None:
    """Give each row what was made of its grid cell, or of its transaction."""
    code = {name: number for number, name in enumerate(layout.entities)}
    starts = np.searchsorted(layout.entity[rows], np.arange(len(layout.entities) + 1))
    times = layout.time[rows]
    for one in judged:
        series = one.rows.series
        if series.ids is not None:
            _fill(out, one, series.ids.astype(np.int64), np.arange(len(series)))
            continue
        number = code[series.entity]
        begin, end = starts[number], starts[number + 1]
        first = begin + int(np.searchsorted(times[begin:end], series.time[0]))
        last = begin + int(np.searchsorted(times[begin:end], series.time[-1], side="right"))
        mine = times[first:last]
        at = np.searchsorted(series.time, mine)
        _fill(out, one, rows[first:last], at)
        if isinstance(detector, Detector):
            joint = one.scored.raw.astype(np.float64) * detector.threshold_.value
            out.onset[rows[first:last]] = onsets(joint)[at]


def _fill(out: RowScores, one: Judged, rows: Ints, at: Ints) -> None:
    scored, series = one.scored, one.rows.series
    out.score[rows] = np.minimum(scored.score[at], np.finfo(np.float32).max)
    out.flag[rows] = scored.flag[at]
    out.expected[rows] = one.rows.expected[at]
    out.drawn[rows] = series.actual[at, : out.drawn.shape[1]]
    chosen = largest(scored.share[at], TOP)
    share = np.take_along_axis(scored.share[at], chosen, axis=1)
    real = share > 0
    places = slice(0, chosen.shape[1])
    out.channel[rows, places] = np.where(real, chosen, -1)
    out.share[rows, places] = np.where(real, share, np.nan)
    actual = np.take_along_axis(series.actual[at], chosen, axis=1)
    out.actual[rows, places] = np.where(real, actual, np.nan)


def _filled(score: Singles, layout: Layout) -> Singles:
    """Give a row without a score that of the row before it in its entity, else of the row after it.

    An entity without any gets what is usual in the table.
    """
    ordered, entity = score[layout.order], layout.entity[layout.order]
    known = np.isfinite(ordered)
    if known.all():
        return score
    row = np.arange(len(ordered))
    before = np.maximum.accumulate(np.where(known, row, -1))
    after = np.minimum.accumulate(np.where(known, row, len(row))[::-1])[::-1]
    usual = np.float32(np.median(ordered[known]) if known.any() else 0.0)
    made = np.full(len(ordered), usual, np.float32)
    for near in (after, before):
        inside = (near >= 0) & (near < len(row))
        inside[inside] = entity[near[inside]] == entity[inside]
        made[inside] = ordered[near[inside]]
    out = np.empty_like(score)
    out[layout.order] = made
    return out
