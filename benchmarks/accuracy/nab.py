"""NAB: real and made-up series of one channel, judged by NAB's own scoring, standard profile.

Fit on each file's probation (15 %, at most 750 rows), score every row. One threshold for the whole corpus,
the one that scores best, is NAB's rule for everyone; the total at a score of 1, which no label chose,
stands beside it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.accuracy import baselines, ours
from benchmarks.accuracy.data import table, values
from benchmarks.accuracy.nab_scoring import Piece, probation, sweep, total_at
from benchmarks.accuracy.work import OURS, TRIVIAL, Arrays, Done, Figure, Job, Line, Settings, Target, Verdict

NAME, TITLE, READS, ALONE = "nab", "NAB, standard profile", ("nab",), False
STANDARD, OWN = "standard profile", "standard profile at score 1"
TARGETS = (Target(STANDARD, 60, 72, against=("HTM",)),)
PUBLISHED = {"HTM": 71.2}
PUBLISHED_ON_ALL = {"ARTime, all files": 74.9, "HTM, all files": 70.1, "RCF, all files": 51.7}


def jobs(data: Path) -> list[Job]:
    """Return every file by every method."""
    sizes = read(data).groupby("name").size()
    return [Job(NAME, str(f), m, int(n)) for f, n in sizes.items() for m in (*TRIVIAL, OURS)]


def run(job: Job, settings: Settings) -> Arrays:
    """Learn from one file's probation and score all of it."""
    frame = read(settings.data)
    frame = frame[frame["name"] == job.series]
    train_rows = probation(len(frame))
    if job.method == OURS:
        asked = table(frame, ["timestamp", "value"])
        return ours.detected(asked, settings, time="timestamp", channels=("value",), train_rows=train_rows)
    return {"score": baselines.errors(job.method, values(frame, ["value"]), train_rows).mean(axis=1)}


def judge(data: Path, done: Done) -> Verdict:
    """Sweep one threshold over all files; a file of ours that failed is silent."""
    windows, rows = read_windows(data), read(data).groupby("name").size()
    lines = [Line(m, "published", {STANDARD: v}) for m, v in (PUBLISHED | PUBLISHED_ON_ALL).items()]
    figures = []
    for method in (*TRIVIAL, OURS):
        scores = {j.series: a["score"].astype(np.float64) for j, a in done.items() if j.method == method}
        if not scores:
            continue
        silent = {name: np.full(int(count), -np.inf) for name, count in rows.items()}
        pieces = {str(n): Piece(scores.get(str(n), silent[n]), windows[str(n)]) for n in rows.index}
        best = sweep(list(pieces.values()))
        found = {STANDARD: best.total}
        if method == OURS:
            found |= {"best threshold": best.threshold, OWN: total_at(list(pieces.values()), 1.0)}
        lines.append(Line(method, "ours" if method == OURS else "baseline", found))
        figures += [
            Figure("NAB", name, method, STANDARD, total_at([piece], best.threshold))
            for name, piece in pieces.items()
            if piece.windows
        ]
    return Verdict(lines, figures)


def read(data: Path) -> pd.DataFrame:
    """Return all rows, with `name` such as `realTraffic/speed_7578`."""
    frame = pd.read_parquet(data / "nab" / "nab.parquet")
    return frame.assign(name=frame["category"].astype(str) + "/" + frame["file"].astype(str))


def read_windows(data: Path) -> dict[str, list[tuple[int, int]]]:
    """Return the first and last row of each file's windows."""
    known = json.loads((data / "nab" / "combined_windows.json").read_text())
    found = {}
    for name, part in read(data).groupby("name"):
        times = part["timestamp"].to_numpy()
        edges = [[np.datetime64(t) for t in window] for window in known[f"{name}.csv"]]
        found[str(name)] = [(int((times == a).argmax()), int((times == b).argmax())) for a, b in edges]
    return found
