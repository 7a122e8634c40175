"""The report of a training, as MLflow shows it: metrics, and figures people look at before they trust."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.registry import figures
from pipeline.registry.figures import Rebuilt
from pipeline.scoring import score_series

if TYPE_CHECKING:
    from pipeline.config.models import Stream
    from pipeline.learning import Learned
    from pipeline.registry import Run
    from pipeline.scoring import Rows

MOST_POINTS = 20_000  # of a score timeline; more cannot be seen


def log(run: Run, stream: Stream, learned: Learned) -> None:
    """Log what came out: final metrics and the figures."""
    history, detector = learned.trained[""].history, learned.detector
    run.metrics(
        {f"threshold.{name}": value for name, value in detector.diagnostics.items() if np.isfinite(value)}
    )
    run.metrics(
        {"windows": learned.windows, "parameters": learned.trained[""].parameters}
        | {"onnx_difference": learned.trained[""].onnx_difference}
        | {"feedback.repeats": learned.repeats, "feedback.raised": learned.raised}
        | {f"feedback.{why}": count for why, count in learned.feedback.counts().items()}
    )
    scores = [scored.score for scored in score_series(detector, learned.held_out)]
    run.figure(figures.losses(history["loss"], history["val_loss"]), "loss")
    held_out = np.concatenate(scores)
    run.figure(figures.error_distribution(learned.train_errors, held_out, 1.0), "error-distribution")
    units = [stream.units.get(name, "") for name in stream.channels]
    if windows := _examples(stream, learned, scores):
        run.figure(figures.reconstructions(windows, stream.channels, units), "reconstruction")
    errors = np.nanmean(np.concatenate([rows.errors for rows in learned.held_out], axis=1), axis=(0, 1))
    run.figure(figures.channel_errors(stream.channels, errors), "channel-error")
    longest = int(np.argmax([np.isfinite(score).sum() for score in scores]))
    time = learned.held_out[longest].series.time[-MOST_POINTS:]
    run.figure(figures.score_timeline(time, scores[longest][-MOST_POINTS:]), "score")


def _examples(stream: Stream, learned: Learned, scores: list[np.ndarray]) -> list[Rebuilt]:
    """Return the best, the median and the worst held-out window by mean score."""
    length, found = stream.window.length, []
    for i, score in enumerate(scores):
        ends = np.arange(length, len(score) + 1, length)
        found += [(float(s), i, int(e)) for e in ends if np.isfinite(s := np.mean(score[e - length : e]))]
    found.sort()
    chosen = {"best": 0, "median": len(found) // 2, "worst": len(found) - 1} if found else {}
    return [_window(name, learned.held_out[found[k][1]], found[k], length) for name, k in chosen.items()]


def _window(title: str, rows: Rows, found: tuple[float, int, int], length: int) -> Rebuilt:
    error, _, end = found
    span = slice(end - length, end)
    series = rows.series
    return Rebuilt(
        f"{title}: {series.entity}", series.time[span], series.actual[span], rows.expected[span], error
    )
