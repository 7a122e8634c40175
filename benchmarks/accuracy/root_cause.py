"""SMD, root cause: of the incidents that are found, how many name a channel that was at fault among three.

Fit on a machine's train part, score its test part. An incident is found where a row of it is flagged; its
three channels are those of its highest row. Ours flags at a score of 1; the trivial baselines at 4/3 of the
99 % quantile of the training rows' scores. `by chance` is what three channels drawn blindly would hit.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.accuracy import baselines, ours, smd
from benchmarks.accuracy.data import table, values
from benchmarks.accuracy.smd import Incident
from benchmarks.accuracy.work import OURS, TRIVIAL, Arrays, Done, Figure, Job, Line, Settings, Target, Verdict

NAME, TITLE, READS, ALONE = "root_cause", "SMD, root cause", ("smd",), False
HIT, FOUND, INCIDENTS = "top-3 hits among found", "incidents found", "incidents"
TARGETS = (Target(HIT, 0.80, 0.95),)
TOP = 3


def jobs(data: Path) -> list[Job]:
    """Return every machine by every method."""
    return [Job(NAME, m, method, 50_000) for m in smd.machines(data) for method in (*TRIVIAL, OURS)]


def run(job: Job, settings: Settings) -> Arrays:
    """Fit on the train part; return scores, flags and top channels of the test part."""
    train = smd.part(settings.data, job.series, "train")
    both = smd.clocked(pd.concat([train, smd.part(settings.data, job.series, "test")]))
    names, rows = smd.channels(both), len(train)
    if job.method == OURS:
        asked = table(both, [smd.TIME, *names])
        found = ours.detected(asked, settings, time=smd.TIME, channels=tuple(names), train_rows=rows)
        return {name: found[name][rows:] for name in ("score", "flag", "top")}
    off = baselines.errors(job.method, values(both, names), rows)
    score = off.mean(axis=1)
    flag = score > baselines.threshold(score, rows)
    top = baselines.top_channels(off[rows:], names, TOP)
    return {"score": score[rows:], "flag": flag[rows:], "top": top}


def judge(data: Path, done: Done) -> Verdict:
    """Count hits over all machines' incidents."""
    known = {machine: smd.incidents(data, machine) for machine in smd.machines(data)}
    total = sum(map(len, known.values()))
    names = len(smd.channels(smd.part(data, next(iter(known)), "test")))
    every = [incident for some in known.values() for incident in some]
    chance = float(np.mean([by_chance(len(i.channels), names) for i in every]))
    lines = [Line("by chance", "baseline", {HIT: chance, INCIDENTS: total})]
    figures = []
    for method in (*TRIVIAL, OURS):
        hits = {
            job.series: found_hits(known[job.series], a) for job, a in done.items() if job.method == method
        }
        if not hits:
            continue
        all_hits = [hit for some in hits.values() for hit in some]
        shares = {HIT: share(all_hits), FOUND: float(len(all_hits)), INCIDENTS: float(total)}
        lines.append(Line(method, "ours" if method == OURS else "baseline", shares))
        figures += [Figure("SMD", machine, method, HIT, share(some)) for machine, some in hits.items()]
    return Verdict(lines, figures)


def found_hits(incidents: Sequence[Incident], arrays: Arrays) -> list[bool]:
    """Say, for each incident that is flagged anywhere, whether its top channels hit one at fault."""
    hits = []
    for incident in incidents:
        rows = slice(incident.first, incident.last + 1)
        if not arrays["flag"][rows].any():
            continue
        peak = incident.first + int(arrays["score"][rows].argmax())
        hits.append(not incident.channels.isdisjoint(arrays["top"][peak][:TOP].tolist()))
    return hits


def by_chance(at_fault: int, channels: int) -> float:
    """Return how likely three channels drawn blindly hit one of those at fault."""
    return 1 - comb(channels - at_fault, TOP) / comb(channels, TOP)


def share(hits: Sequence[bool]) -> float:
    """Return the share of hits; NaN where nothing was found."""
    return float(np.mean(hits)) if hits else float("nan")
