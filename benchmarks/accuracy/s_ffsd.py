"""S-FFSD: 46,728 card transactions, 2,090 known frauds, 14,875 known not to be, the rest unknown.

Published figures (MCNN, GTAN, RGTAN: Xiang et al., AAAI 2023, and their code) are of a fifth of the rows
drawn at random, stratified by label, of which the unknown do not count; all rows, the judged ones too, are
in the graphs and histories those models are fed, and the labels of the others train them. So here: every
method without labels learns from all rows, and is judged on that fifth. A random split lets later rows help
with earlier ones, so the same figure stands for a split by time too: learned from the first three fifths,
judged on the last two.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score
from sklearn.model_selection import train_test_split

from benchmarks.accuracy import baselines, ours
from benchmarks.accuracy.data import table
from benchmarks.accuracy.work import OURS, Arrays, Done, Job, Line, Settings, Target, Verdict

NAME, TITLE, READS, ALONE = "s_ffsd", "S-FFSD, no label used", ("s_ffsd",), False
AP, AP_ALL, AP_LATER = "average precision", "of all labelled rows", "of the last two fifths in time"
TARGETS = (Target(AP, None, 0.33),)
PUBLISHED = {"MCNN, supervised": 0.331, "GTAN, supervised": 0.659, "RGTAN, supervised": 0.694}
WHOLE, FIRST = "learned from all rows", "learned from the first three fifths"
METHODS = (baselines.AMOUNT, baselines.FOREST, OURS)
LATER, TEST, SPLIT_SEED, UNKNOWN = 0.6, 0.2, 2, 2


def jobs(data: Path) -> list[Job]:
    """Return both ways to learn, by every method."""
    return [Job(NAME, way, method, 50_000) for way in (WHOLE, FIRST) for method in METHODS]


def run(job: Job, settings: Settings) -> Arrays:
    """Score every row; no method sees a label."""
    cards = read(settings.data)
    until = len(cards) if job.series == WHOLE else int(LATER * len(cards))
    if job.method == baselines.AMOUNT:
        return {"score": baselines.amount_over_mean(cards["Source"], cards["Amount"], unit=1.0)}
    if job.method == baselines.FOREST:
        return {"score": forest(features(cards), until, settings.seed)}
    columns = ["Time", "Source", "Target", "Amount", "Location", "Type"]
    return ours.detected(
        table(cards, columns),
        settings,
        kind="transaction",
        time="Time",
        entity="Source",
        amount="Amount",
        categories=("Target", "Location", "Type"),
        train_rows=until,
    )


def judge(data: Path, done: Done) -> Verdict:
    """Compare scores with what is known."""
    label = read(data)["Labels"].to_numpy()
    known = label != UNKNOWN
    drawn = np.zeros(len(label), bool)
    drawn[published_test(label)] = True
    later = np.arange(len(label)) >= int(LATER * len(label))
    lines = [Line(method, "published", {AP: value}) for method, value in PUBLISHED.items()]
    for method in METHODS:
        found = {job.series: arrays["score"] for job, arrays in done.items() if job.method == method}
        figures: dict[str, float] = {}
        if WHOLE in found:
            figures[AP] = precision(label, found[WHOLE], known & drawn)
            figures[AP_ALL] = precision(label, found[WHOLE], known)
        if FIRST in found:
            figures[AP_LATER] = precision(label, found[FIRST], known & later)
        if figures:
            lines.append(Line(method, "ours" if method == OURS else "baseline", figures))
    return Verdict(lines)


def published_test(label: NDArray[Any]) -> list[int]:
    """Return the rows that the papers' code tests on."""
    rows = list(range(len(label)))
    _, test = train_test_split(rows, stratify=label, test_size=TEST, random_state=SPLIT_SEED, shuffle=True)
    return [int(row) for row in test]


def precision(label: NDArray[Any], score: NDArray[Any], among: NDArray[np.bool_]) -> float:
    """Return average precision among some rows."""
    return float(average_precision_score(label[among] == 1, score[among]))


def forest(found: baselines.Floats, until: int, seed: int) -> baselines.Floats:
    """Return an isolation forest's score of every row, learned from the first `until`."""
    grown = IsolationForest(n_estimators=200, random_state=seed, n_jobs=1).fit(found[:until])
    return np.asarray(-grown.score_samples(found), np.float64)


def features(cards: pd.DataFrame) -> baselines.Floats:
    """Return what anyone would try: amounts, how often each value came before, how long ago [T, 8]."""
    columns = [
        np.log1p(cards["Amount"].to_numpy()),
        np.log1p(baselines.amount_over_mean(cards["Source"], cards["Amount"], unit=1.0)),
    ]
    for name in ("Source", "Target", "Location", "Type"):
        columns.append(np.log1p(cards.groupby(name).cumcount().to_numpy()))
    since = cards["Time"] - cards.groupby("Source")["Time"].shift()
    columns.append(np.log1p(since.fillna(len(cards)).to_numpy()))
    columns.append(cards.groupby(["Source", "Target"]).cumcount().to_numpy())
    return np.column_stack(columns).astype(np.float64)


def read(data: Path) -> pd.DataFrame:
    """Return all transactions, in order of time."""
    return pd.read_parquet(data / "s_ffsd" / "s_ffsd.parquet").sort_values("Time", ignore_index=True)
