"""NAB: real and made-up series of one channel, judged by NAB's own scoring, standard profile.

Fit on each file's probation (15 %, at most 750 rows), score every row. NAB counts every row over the
threshold outside a window, so that what is judged is `onset`, where something begins; the baselines' errors,
over their mean in probation, are turned into onsets by the same function. One threshold for the whole corpus,
the one that scores best, is NAB's rule for everyone; the total at an onset of 1, which no label chose, stands
beside it, and that of the score, which is high for as long as an anomaly lasts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.accuracy import baselines, ours
from benchmarks.accuracy.data import table, values
from benchmarks.accuracy.nab_scoring import Piece, probation, sweep, total_at
from benchmarks.accuracy.work import OURS, TRIVIAL, Arrays, Done, Figure, Job, Line, Settings, Target, Verdict
from pipeline.detect import onsets

NAME, TITLE, READS, ALONE = "nab", "NAB, standard profile", ("nab",), False
STANDARD, OWN, SUSTAINED = "standard profile", "standard profile at onset 1", "standard profile by score"
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
    off = baselines.errors(job.method, values(frame, ["value"]), train_rows).mean(axis=1)
    return {"onset": onsets(off / max(float(off[:train_rows].mean()), 1e-9))}


def judge(data: Path, done: Done) -> Verdict:
    """Sweep one threshold over all files; a file of ours that failed is silent."""
    windows, rows = read_windows(data), read(data).groupby("name").size()
    lines = [Line(m, "published", {STANDARD: v}) for m, v in (PUBLISHED | PUBLISHED_ON_ALL).items()]
    figures = []
    for method in (*TRIVIAL, OURS):
        mine = {job.series: arrays for job, arrays in done.items() if job.method == method}
        if not mine:
            continue
        pieces = _pieces(mine, "onset", rows, windows)
        best = sweep(list(pieces.values()))
        found = {
            STANDARD: best.total,
            OWN: total_at(list(pieces.values()), 1.0),
            "best threshold": best.threshold,
        }
        if method == OURS:
            found |= {SUSTAINED: sweep(list(_pieces(mine, "score", rows, windows).values())).total}
        lines.append(Line(method, "ours" if method == OURS else "baseline", found))
        figures += [
            Figure("NAB", name, method, STANDARD, total_at([piece], best.threshold))
            for name, piece in pieces.items()
            if piece.windows
        ]
    return Verdict(lines, figures)


def _pieces(
    mine: Mapping[str, Arrays], column: str, rows: pd.Series, windows: Mapping[str, list[tuple[int, int]]]
) -> dict[str, Piece]:
    """Return every file with a column of what was made of it; one that failed is silent."""
    return {
        str(name): Piece(
            mine[str(name)][column].astype(np.float64) if str(name) in mine else np.full(int(count), -np.inf),
            windows[str(name)],
        )
        for name, count in rows.items()
    }


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
