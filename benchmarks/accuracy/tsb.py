"""TSB-AD: 28 multivariate and 41 univariate series; VUS-PR by the benchmark's own evaluator.

Fit on a series' first `train_rows` rows, score every row. The figure is the mean over data sets of the mean
over series (macro). Published: every method of TSB-AD on these very series (Liu and Paparrizos, NeurIPS
2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.accuracy import baselines, ours
from benchmarks.accuracy.data import table, values
from benchmarks.accuracy.vus import vus_pr
from benchmarks.accuracy.work import OURS, TRIVIAL, Arrays, Done, Figure, Job, Line, Settings, Target, Verdict

VUS = "VUS-PR"
BEST = "best published of each series"
_ABOUT = ("track", "series", "dataset", "rows", "channels", "train_rows", "anomalous")


@dataclass(frozen=True)
class Track:
    """One of the two: a suite."""

    letter: str
    NAME: str
    TITLE: str
    TARGETS: tuple[Target, ...]
    READS: tuple[str, ...]
    ALONE: bool = False
    __file__: str = __file__

    def jobs(self, data: Path) -> list[Job]:
        """Return every series by every method of ours and trivial ones."""
        known = self.manifest(data)
        cells = (known["rows"] * known["channels"]).astype(int)
        return [
            Job(self.NAME, str(series), method, int(size))
            for series, size in cells.items()
            for method in (*TRIVIAL, OURS)
        ]

    def run(self, job: Job, settings: Settings) -> Arrays:
        """Score one series and have it judged."""
        frame = pd.read_parquet(settings.data / "tsb_ad" / self.letter / f"{job.series}.parquet")
        train_rows = int(self.manifest(settings.data)["train_rows"].astype(int)[job.series])
        channels = [c for c in frame.columns if c.startswith("v")]
        if job.method == OURS:
            found = ours.detected(
                table(frame, ["t", *channels]),
                settings,
                time="t",
                channels=tuple(channels),
                train_rows=train_rows,
            )
        else:
            off = baselines.errors(job.method, values(frame, channels), train_rows)
            found = {"score": off.mean(axis=1)}
        first, label = frame[channels[0]].to_numpy(np.float64), frame["label"].to_numpy(np.int8)
        return {**found, "vus_pr": np.array(vus_pr(settings, found["score"], label, first))}

    def judge(self, data: Path, done: Done) -> Verdict:
        """Average over series, then over data sets; a series of ours that failed counts 0."""
        known = self.manifest(data)
        published = known.drop(columns=[c for c in _ABOUT if c in known.columns])
        every = published.assign(**{BEST: published.max(axis=1)})
        lines = [Line(m, "published", macro(every[m], known["dataset"])) for m in every.columns]
        for method in (*TRIVIAL, OURS):
            found = {job.series: float(a["vus_pr"]) for job, a in done.items() if job.method == method}
            if found:
                every[method] = pd.Series(found).reindex(every.index).fillna(0.0)
                source = "ours" if method == OURS else "baseline"
                lines.append(Line(method, source, macro(every[method], known["dataset"])))  # type: ignore[arg-type]
        figures = [
            Figure(dataset, series, str(method), VUS, float(value))
            for method in every.columns
            for series, dataset, value in zip(known.index, known["dataset"], every[method], strict=True)
        ]
        return Verdict(lines, figures)

    def manifest(self, data: Path) -> pd.DataFrame:
        """Return what is known of each series, by its name."""
        return pd.read_csv(data / "tsb_ad" / f"manifest_{self.letter}.csv").set_index("series")


def macro(value: pd.Series, dataset: pd.Series) -> dict[str, float]:
    """Return the mean over data sets of the mean over series, and each data set's own mean."""
    means = value.groupby(dataset).mean()
    return {VUS: float(means.mean()), **{f"{VUS} {name}": float(mean) for name, mean in means.items()}}


M = Track(
    "M", "tsb_m", "TSB-AD M, 28 series, macro over 3 data sets",
    (Target(VUS, 0.46, 0.55),), ("tsb_ad/M",),
)  # fmt: skip
U = Track(
    "U", "tsb_u", "TSB-AD U, 41 series, macro over 4 data sets",
    (Target(VUS, 0.66, 0.72),), ("tsb_ad/U",),
)  # fmt: skip
