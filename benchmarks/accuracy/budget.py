"""The alert budget: false alarms on normal data, observed over declared.

SMD: learned from the first three fifths of each machine's train part, judged on the rest, which nobody
labelled but its makers call normal. TEP: learned from the fault-free training run, judged on the fault-free
test run. Declared is the budget that the detector chose for itself, times the time judged. Flags within its
`merge` are one alarm.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.accuracy import ours, smd
from benchmarks.accuracy.data import table
from benchmarks.accuracy.work import OURS, Arrays, Done, Figure, Job, Line, Settings, Target, Verdict

NAME, TITLE, READS, ALONE = "budget", "Alert budget, normal data of SMD and TEP", ("smd", "tep"), False
RATIO, OBSERVED, DECLARED, DAYS = "observed / declared", "observed", "declared", "days judged"
TARGETS = (Target(RATIO, 1.5, 1.1, better="lower"),)
LEARNED = 0.6
TEP, TEP_STEP = "TEP", pd.Timedelta(minutes=3)


def jobs(data: Path) -> list[Job]:
    """Return every machine, and the process; the trivial baselines declare no budget."""
    return [Job(NAME, series, OURS, 20_000) for series in (*smd.machines(data), TEP)]


def run(job: Job, settings: Settings) -> Arrays:
    """Learn from the first part of what is normal; count alarms in the rest."""
    frame, rows, step = normal(settings.data, job.series)
    names = [c for c in frame.columns if c != smd.TIME]
    asked = table(frame, [smd.TIME, *names])
    found = ours.detected(asked, settings, time=smd.TIME, channels=tuple(names), train_rows=rows)
    seconds = (len(frame) - rows) * step.total_seconds()
    merge = max(float(found["merge_s"]), step.total_seconds()) / step.total_seconds()
    return {
        "observed": np.array(alarms(found["flag"][rows:], merge)),
        "declared": np.array(float(found["per_second"]) * seconds),
        "days": np.array(seconds / 86_400),
    }


def judge(data: Path, done: Done) -> Verdict:
    """Divide the sums."""
    if not done:
        return Verdict([])
    totals = {n: float(sum(float(a[n]) for a in done.values())) for n in ("observed", "declared", "days")}
    ratio = totals["observed"] / totals["declared"]
    figures = {RATIO: ratio, OBSERVED: totals["observed"], DECLARED: totals["declared"], DAYS: totals["days"]}
    parts = [
        Figure(NAME, job.series, OURS, name, float(arrays[name]))
        for job, arrays in done.items()
        for name in ("observed", "declared", "days")
    ]
    return Verdict([Line(OURS, "ours", figures)], parts)


def normal(data: Path, series: str) -> tuple[pd.DataFrame, int, pd.Timedelta]:
    """Return what is normal with its time, how many rows to learn from, and the time between rows."""
    if series != TEP:
        frame = smd.clocked(smd.part(data, series, "train"))
        return frame[[smd.TIME, *smd.channels(frame)]], int(LEARNED * len(frame)), pd.Timedelta(minutes=1)
    runs = pd.read_parquet(data / "tep" / "tep.parquet")
    runs = runs[runs["fault"] == 0]
    runs = pd.concat([runs[runs["split"] == "train"], runs[runs["split"] == "test"]], ignore_index=True)
    times = smd.BEGIN + runs.index * TEP_STEP
    frame = runs[[c for c in runs.columns if c.startswith("x")]].assign(**{smd.TIME: times})
    return frame, int((runs["split"] == "train").sum()), TEP_STEP


def alarms(flag: NDArray[np.bool_], merge_rows: float) -> int:
    """Count groups of flags that are at most `merge_rows` apart."""
    rows = np.flatnonzero(flag)
    return int(len(rows) > 0) + int((np.diff(rows) > merge_rows).sum())
