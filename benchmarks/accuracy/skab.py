"""SKAB, outlier detection: a water loop whose valves are closed; every file an experiment.

Fit on the first 400 rows of each file, judged on the rest. F1, false alarm rate and missed alarm rate are
of rows, pooled over files: SKAB's `chp_score(metric="binary")` sums the four counts before it divides
(Katser and Kozitsin, 2020). A row is flagged where its score is at least 1; no label sets that threshold.
The trivial baselines have SKAB's own: 4/3 of the 99 % quantile of the training rows' scores.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.accuracy import baselines, ours
from benchmarks.accuracy.data import table, values
from benchmarks.accuracy.work import OURS, TRIVIAL, Arrays, Done, Figure, Job, Line, Settings, Target, Verdict

NAME, TITLE, READS, ALONE = "skab", "SKAB, outliers", ("skab",), False
TARGETS = (Target("F1", 0.80, 0.86),)
TRAIN_ROWS = 400
NORMAL = "anomaly-free"  # no experiment
PUBLISHED = {"Conv-AE": 0.797, "MSET": 0.764, "LSTM-AE": 0.722}
_NOT_MEASURED = ("file", "datetime", "anomaly", "changepoint")

Flags = NDArray[np.bool_]


def jobs(data: Path) -> list[Job]:
    """Return every experiment by every method."""
    sizes = read(data).groupby("file").size()
    return [Job(NAME, str(f), m, int(n)) for f, n in sizes.items() for m in (*TRIVIAL, OURS)]


def run(job: Job, settings: Settings) -> Arrays:
    """Fit one file's start and flag its rows."""
    frame = read(settings.data)
    frame = frame[frame["file"] == job.series]
    channels = [c for c in frame.columns if c not in _NOT_MEASURED]
    if job.method == OURS:
        asked = table(frame, ["datetime", *channels])
        return ours.detected(
            asked, settings, time="datetime", channels=tuple(channels), train_rows=TRAIN_ROWS
        )
    score = baselines.errors(job.method, values(frame, channels), TRAIN_ROWS).mean(axis=1)
    return {"score": score, "flag": score > baselines.threshold(score, TRAIN_ROWS)}


def judge(data: Path, done: Done) -> Verdict:
    """Pool all files' judged rows."""
    frame = read(data)
    truth = {str(f): part["anomaly"].to_numpy()[TRAIN_ROWS:] == 1 for f, part in frame.groupby("file")}
    lines = [Line(method, "published", {"F1": f1}) for method, f1 in PUBLISHED.items()]
    figures = []
    for method in (*TRIVIAL, OURS):
        flags = {j.series: a["flag"][TRAIN_ROWS:] for j, a in done.items() if j.method == method}
        if not flags:
            continue
        pairs = [(wrong, flags.get(file, np.zeros_like(wrong))) for file, wrong in truth.items()]
        pooled = binary(*(np.concatenate(side) for side in zip(*pairs, strict=True)))
        lines.append(Line(method, "ours" if method == OURS else "baseline", pooled))
        figures += [
            Figure("SKAB", file, method, name, value)
            for file, flag in flags.items()
            for name, value in binary(truth[file], flag).items()
        ]
    return Verdict(lines, figures)


def binary(truth: Flags, flag: Flags) -> dict[str, float]:
    """Return F1, and false and missed alarms in percent, as SKAB computes them."""
    tp, fp = int((truth & flag).sum()), int((~truth & flag).sum())
    fn, tn = int((truth & ~flag).sum()), int((~truth & ~flag).sum())
    return {
        "F1": tp / max(tp + (fn + fp) / 2, 1e-12),
        "false alarms %": 100 * fp / max(fp + tn, 1),
        "missed %": 100 * fn / max(fn + tp, 1),
    }


def read(data: Path) -> pd.DataFrame:
    """Return all experiments, in each file's own order."""
    frame = pd.read_parquet(data / "skab" / "skab.parquet")
    return frame[frame["file"] != NORMAL].reset_index(drop=True)
