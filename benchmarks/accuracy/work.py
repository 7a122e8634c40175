"""What a suite is made of: jobs that a worker can run alone, and a verdict over what they returned.

In: nothing. Out: the small types that suites, runner and report share. A job fits and scores one series by
one method; a verdict is computed afresh from the jobs' arrays every time, so that only fitting is ever
repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

OURS = "Offbeat"
ZSCORE, LAST, PCA = "moving z-score", "last value", "PCA"
TRIVIAL = (ZSCORE, LAST, PCA)
LIMITS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS",
)  # fmt: skip
"""What a worker's threads are limited by."""

Arrays = dict[str, NDArray[Any]]
Source = Literal["ours", "published", "baseline"]


@dataclass(frozen=True)
class Settings:
    """What holds for a whole run."""

    data: Path
    work: Path
    """Where results of jobs are kept; may be deleted at any time."""
    tsb_python: Path
    """Interpreter of the environment that TSB-AD's evaluator lives in."""
    preset: str = "default"
    seed: int = 7


@dataclass(frozen=True)
class Job:
    """One series by one method."""

    suite: str
    series: str
    method: str
    rows: int = 0
    """How long it may take, roughly: the longest go first."""


Done = Mapping[Job, Arrays]
"""What each job returned; a job that failed is not there."""


@dataclass(frozen=True)
class Line:
    """One method's figures on a suite."""

    method: str
    source: Source
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Target:
    """What a method of ours is held to."""

    figure: str
    least: float | None
    """None: the best trivial baseline has to be beaten."""
    aim: float
    method: str = OURS
    better: Literal["higher", "lower"] = "higher"
    against: tuple[str, ...] | None = None
    """Published methods that had no more to go on; None: all."""

    def met(self, value: float, trivial: float) -> bool:
        """Say whether a value reaches `least`, or beats the best trivial one; NaN does not."""
        if self.least is None:
            return value > trivial if self.better == "higher" else value < trivial
        return value >= self.least if self.better == "higher" else value <= self.least


@dataclass(frozen=True)
class Figure:
    """One number about one series."""

    dataset: str
    series: str
    method: str
    figure: str
    value: float


@dataclass(frozen=True)
class Verdict:
    """What a suite came to."""

    lines: Sequence[Line]
    series: Sequence[Figure] = ()


class Suite(Protocol):
    """A module of this package that measures one thing."""

    @property
    def NAME(self) -> str:  # noqa: N802
        """What it is called on the command line."""

    @property
    def TITLE(self) -> str:  # noqa: N802
        """What it is called in the table."""

    @property
    def READS(self) -> tuple[str, ...]:  # noqa: N802
        """Folders of the data it reads."""

    @property
    def ALONE(self) -> bool:  # noqa: N802
        """Whether its jobs need the machine to themselves, and are measured in every run."""

    @property
    def TARGETS(self) -> tuple[Target, ...]:  # noqa: N802
        """What ours is held to."""

    def jobs(self, data: Path) -> list[Job]:
        """Return all jobs."""

    def run(self, job: Job, settings: Settings) -> Arrays:
        """Do one of them; runs in a worker."""

    def judge(self, data: Path, done: Done) -> Verdict:
        """Turn what jobs returned into figures."""
