"""Learning: where prepare, models and detect meet to make a detector bundle out of a stream's history.

In: a table of observations. Out: a bundle folder, and all there is to say and draw about it. Pure but for
that folder. The history is cut by time into three: what is learned from, what training stops by, and
what the threshold is calibrated on, which no training saw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config.models import TransactionStream
from pipeline.detect import Detector, HeldOut, PaymentDetector
from pipeline.errors import NotEnoughData
from pipeline.models.bundle import Bundle
from pipeline.models.process import train_in_process
from pipeline.models.reconstruct import Reconstructor
from pipeline.prepare import (
    Feedback,
    Preparer,
    Series,
    Split,
    Stretch,
    Windows,
    cut_time,
    evidence_names,
    new_preparer,
    split,
    touching,
)
from pipeline.scoring import Rows, Scorer, micros, moment, payments, reconstruct, score_series, windows_of

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from pipeline.config.models import Stream
    from pipeline.models.progress import Epoch, Trained

VALIDATION = 0.15  # latest share of the training part that early stopping looks at
MOST_VALIDATION = 4000  # windows early stopping looks at
MOST_CALIBRATION = 200_000  # latest transactions that the detector learns from, apart from the model
LEAST_WINDOWS = 20  # fewer say nothing
NORMAL_SHARE = 0.2  # of the windows: so many touch what people call normal; they are repeated for it
MOST_REPEATS = 20  # of one such window
MOST_RAISED = 2.0  # times its threshold, that a look may be raised for what people call normal
MOST_NORMAL = 200  # latest such stretches that thresholds are raised for
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Learned:
    """A finished detector and how it came about."""

    folder: Path
    bundle: Bundle
    trained: dict[str, Trained]
    """By entity; `""` is the stream's own model."""
    detector: Detector | PaymentDetector
    held_out: list[Rows]
    """What calibration saw: the latest part of the history."""
    since: datetime
    """Start of that part."""
    windows: int
    """Windows learned from."""
    train_errors: NDArray[np.float32]
    """Joint scores of rows the model did learn from, for comparison."""
    feedback: Feedback
    repeats: int
    """Times that each window of what people call normal was learned from."""
    raised: float
    """The most that feedback raised a threshold, as a factor."""


@dataclass(frozen=True)
class _Parts:
    """The history, prepared and cut."""

    preparer: Preparer
    learn: list[Series]
    stop_cut: int
    stop_since: int
    judge: Split
    since: int | None
    """Rows before it are context: features see them, nothing is learned from them."""
    whole: list[Series]
    feedback: Feedback


def learn(
    stream: Stream,
    records: pa.Table,
    folder: Path,
    *,
    since: datetime | None = None,
    labels_until: datetime | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    feedback: Feedback | None = None,
) -> Learned:
    """Learn what normal looks like in `records` and write the detector bundle to `folder / "bundle"`.

    Args:
        stream: what is learned of.
        records: observations, for transactions with what came before `since`.
        folder: gets the models and the bundle.
        since: transactions before it are the context of those learned from; None: all are learned from.
        labels_until: transactions from then on have no label that is known yet; by default those younger
            than `fields.label_delay` when the newest record came.
        on_epoch: told of each epoch.
        feedback: what people said of the history. What is masked is a gap, and no window that touches it is
            learned from; what is normal is learned from wherever it lies, and repeated.

    Raises:
        NotEnoughData: there is too little history for one of the three parts.
        BundleError: the exported model does not agree with the trained one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    feedback = feedback or Feedback()
    known = feedback.records(records)
    parts = _cut(stream, known, micros(since) if since and stream.kind == "transaction" else None, feedback)
    members, trained, windows, repeats = _train(stream, parts, folder, on_epoch)
    own = {entity: Reconstructor(where / "model.onnx") for entity, where in members.items()}

    def models(entity: str) -> Reconstructor:
        return own.get(entity, own[""])

    held_out = reconstruct(stream, parts.preparer, parts.judge.held_out, models, since=parts.judge.since)
    raised = 1.0
    if isinstance(stream, TransactionStream):
        detector: Detector | PaymentDetector = _calibrate_payments(stream, parts, models, labels_until)
    else:
        held_out = [_blanked(stream, parts, rows) for rows in held_out]
        detector = calibrate(stream, parts.preparer, held_out)
        if normal := _normal(stream, parts, models, detector):
            raised = detector.allow(normal, most=MOST_RAISED)
    bundle = Bundle.write(
        folder / "bundle",
        stream,
        features=parts.preparer.features_.names,
        members=members,
        preparer=parts.preparer.to_dict(),
        detector=detector.to_dict(),
        training=_summary(trained, windows),
    )
    sample = reconstruct(stream, parts.preparer, parts.learn[-8:], models)
    scores = np.concatenate([scored.score for scored in score_series(detector, sample)])
    held_since = moment(parts.judge.since)
    return Learned(
        folder, bundle, trained, detector, held_out, held_since, windows, scores, feedback, repeats, raised
    )


def calibrate(stream: Stream, preparer: Preparer, held_out: Sequence[Rows]) -> Detector:
    """Turn the alert budget into a threshold on normal errors held out in time."""
    pieces = [HeldOut(rows.series.entity, rows.series.time, rows.errors) for rows in held_out]
    return Detector(lookahead=stream.window.lookahead, slack=preparer.slack_).fit(
        pieces,
        per_second=stream.alert.false_alarms.per_second,
        merge_us=stream.alert.merge // _MICROSECOND,
        step_us=preparer.step_us,
    )


def _calibrate_payments(
    stream: TransactionStream,
    parts: _Parts,
    models: Callable[[str], Reconstructor],
    labels_until: datetime | None,
) -> PaymentDetector:
    """Learn curves, labels and threshold from the latest transactions, also those that trained the model."""
    times = np.sort(np.concatenate([s.time for s in parts.whole]))
    first = int(times[-MOST_CALIBRATION]) if len(times) > MOST_CALIBRATION else int(times[0])
    learn_since = first if parts.since is None else max(first, parts.since)
    rows = reconstruct(stream, parts.preparer, parts.whole, models, since=learn_since)
    delay = stream.fields.label_delay // _MICROSECOND
    known = int(times[-1]) - delay if labels_until is None else micros(labels_until)
    detector = PaymentDetector(evidence_names(stream), stream.fields.categories)
    return detector.fit(
        payments(rows),
        since=parts.judge.since,
        per_second=stream.alert.false_alarms.per_second,
        merge_us=stream.alert.merge // _MICROSECOND,
        learn_since=learn_since,
        known_until=known if stream.fields.label else None,
    )


def held_out_error(rows: Sequence[Rows], since: datetime) -> float:
    """Return how far expected is from actual over how much actual varies: 0 perfect, 1 as good as a mean.

    In the channels' own units and averaged over channels, so that models with different scalings compare.
    Each difference is held to ten times the channel's median one: a single wild value decides nothing.
    Rows before `since` are context and do not count.
    """
    counts = [r.series.time >= micros(since) for r in rows]
    expected = np.concatenate([r.expected[kept] for r, kept in zip(rows, counts, strict=True)])
    actual = np.concatenate([r.series.actual[kept] for r, kept in zip(rows, counts, strict=True)])
    shares = []
    for channel in range(actual.shape[1]):
        known = np.isfinite(expected[:, channel]) & np.isfinite(actual[:, channel])
        real, off = actual[known, channel], np.abs(expected[known, channel] - actual[known, channel])
        if len(real) and (spread := float(np.std(real))) > 0:
            shares.append(float(np.mean(np.minimum(off, 10 * np.median(off) + 1e-12) ** 2)) / spread**2)
    return float(np.mean(shares)) if shares else float("nan")


def judge_again(scorer: Scorer, records: pa.Table, since: datetime) -> float:
    """Return the held-out error of another bundle on the same rows: the gate compares like with like."""
    return held_out_error([judged.rows for judged in scorer.judge(records, start=since)], since)


def _cut(stream: Stream, records: pa.Table, since: int | None, feedback: Feedback) -> _Parts:
    """Prepare the history, scaled by its training part alone, and cut it in three by time."""
    cut = cut_time(records, stream.training.holdout, since)
    preparer = new_preparer(stream).fit(records, until=cut, since=since)
    embargo, length = preparer.embargo // _MICROSECOND, stream.window.length
    whole = preparer.transform(records)
    judge = split(whole, cut, embargo, length)
    times = np.concatenate([s.time for s in judge.train])
    times = times if since is None else times[times >= since]
    stop_cut = int(np.quantile(times, 1 - VALIDATION, method="nearest"))
    stop = split(judge.train, stop_cut, embargo, length)
    return _Parts(preparer, stop.train, stop_cut, stop.since, judge, since, whole, feedback)


def _train(
    stream: Stream, parts: _Parts, folder: Path, on_epoch: Callable[[Epoch], None] | None
) -> tuple[dict[str, Path], dict[str, Trained], int, int]:
    """Train one model for the stream, and where asked one for each entity that has history enough.

    Returns folders and summaries by entity ("" is the stream), the stream's number of windows, and how often
    each that people call normal was repeated.
    """
    learn, stop, repeats = _pair(stream, parts, None)
    pairs = {"": (learn, stop)}
    if stream.model.per_entity:
        names = sorted({series.entity for series in parts.learn})
        own = {name: _pair(stream, parts, name)[:2] for name in names}
        pairs |= {name: pair for name, pair in own.items() if min(map(len, pair)) >= LEAST_WINDOWS}
    if len(learn) < LEAST_WINDOWS or not len(stop):
        raise NotEnoughData(
            f"{stream.name}: {len(learn)} windows of {stream.window.length} rows to learn from; "
            f"at least {LEAST_WINDOWS} are needed: wait for more history or shorten `window.length`"
        )
    members = {name: folder / "models" / str(number) for number, name in enumerate(pairs)}
    trained = {
        name: train_in_process(stream.model, *pair, members[name], on_epoch=on_epoch, work=folder)
        for name, pair in pairs.items()
    }
    return members, trained, len(learn), repeats


def _pair(stream: Stream, parts: _Parts, entity: str | None) -> tuple[Windows, Windows, int]:
    """Return the windows to learn from, those to stop by, and how often each normal one was repeated.

    What people call normal is learned from wherever it lies, or the model would meet it again unprepared.
    """
    series = [s for s in parts.whole if entity is None or s.entity == entity]
    every, seed = windows_of(stream, parts.preparer, series, parts.since), stream.model.seed
    end, usable = every.end_time, ~_touched(stream, parts, series, every, parts.feedback.masked)
    learn = every.subset(np.flatnonzero(usable & (end < parts.stop_cut)))
    stop = every.subset(np.flatnonzero(usable & (end >= parts.stop_since) & (end < parts.judge.cut)))
    learn = learn.sample(stream.model.max_windows, seed)
    normal = np.flatnonzero(usable & _touched(stream, parts, series, every, parts.feedback.normal))
    repeats = 0
    if len(normal):
        share = max(int(NORMAL_SHARE * len(learn)), LEAST_WINDOWS)
        repeats = min(max(share // len(normal), 1), MOST_REPEATS)
        learn = learn.plus(every.subset(np.tile(normal, repeats)).sample(share, seed))
    return learn, stop.sample(MOST_VALIDATION, seed), repeats


def _touched(
    stream: Stream, parts: _Parts, series: Sequence[Series], windows: Windows, stretches: Sequence[Stretch]
) -> NDArray[np.bool_]:
    """Tell which windows touch one of the stretches [N]."""
    end, found = windows.end_time, np.zeros(len(windows), np.bool_)
    edges = np.searchsorted(windows.series_index, np.arange(len(series) + 1))
    for each, (first, last) in zip(series, pairwise(edges), strict=True):
        mine = end[first:last]
        found[first:last] = touching(stretches, each.entity, mine - _reach(stream, parts), mine)
    return found


def _reach(stream: Stream, parts: _Parts) -> int:
    """Return how long before its end a window begins; a transaction's rows are not evenly spaced."""
    return (stream.window.length - 1) * (parts.preparer.step_us or 0)


def _blanked(stream: Stream, parts: _Parts, rows: Rows) -> Rows:
    """Return rows without the errors of those that what is masked touches."""
    time = rows.series.time
    touched = touching(parts.feedback.masked, rows.series.entity, time - _reach(stream, parts), time)
    return replace(rows, errors=np.where(touched[:, None], np.float32(np.nan), rows.errors))


def _normal(
    stream: Stream, parts: _Parts, models: Callable[[str], Reconstructor], detector: Detector
) -> list[tuple[HeldOut, NDArray[np.bool_]]]:
    """Return the errors around the latest stretches that people call normal, and which rows those are."""
    latest = sorted(parts.feedback.normal, key=lambda s: s.start)[-MOST_NORMAL:]
    before = detector.context_rows + stream.window.length
    after = detector.later_rows + stream.window.delay + stream.window.stride
    pieces = []
    for series in parts.whole:
        inside = np.flatnonzero(touching(latest, series.entity, series.time, series.time))
        for run in np.split(inside, np.flatnonzero(np.diff(inside) > 1) + 1):
            if len(run):
                pieces.append(series.rows(max(0, run[0] - before), run[-1] + after + 1))
    return [
        (HeldOut(each.entity, each.time, rows.errors), touching(latest, each.entity, each.time, each.time))
        for rows in reconstruct(stream, parts.preparer, pieces, models)
        for each in (rows.series,)
    ]


def _summary(trained: dict[str, Trained], windows: int) -> dict[str, Any]:
    own = trained[""]
    return {
        "windows": windows,
        "epochs": own.epochs,
        "val_loss": own.val_loss,
        "seconds": round(own.seconds, 2),
        "parameters": own.parameters,
        "onnx_difference": max(t.onnx_difference for t in trained.values()),
        "models": len(trained),
    }
