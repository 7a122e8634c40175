"""The Server Machine Dataset's files: servers watched once a minute, with the channels that were at fault.

In: the data folder. Out: tables with a clock's time, and incidents (Su et al., KDD 2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

BEGIN = pd.Timestamp("2024-01-01")  # the files have no date
TIME = "time"


@dataclass(frozen=True)
class Incident:
    """Rows of the test part, the last one inside, and the channels that were at fault."""

    first: int
    last: int
    channels: frozenset[str]


def machines(data: Path) -> list[str]:
    """Return their names, such as `1-2`."""
    files = sorted((data / "smd").glob("machine-*_test.parquet"))
    return [file.name.removeprefix("machine-").removesuffix("_test.parquet") for file in files]


def part(data: Path, machine: str, name: str) -> pd.DataFrame:
    """Return the `train` or the `test` part."""
    return pd.read_parquet(data / "smd" / f"machine-{machine}_{name}.parquet")


def channels(frame: pd.DataFrame) -> list[str]:
    """Return the measured columns."""
    return [c for c in frame.columns if c.startswith("f")]


def clocked(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the same rows with a `time` a minute apart."""
    time = pd.date_range(BEGIN, periods=len(frame), freq="min")
    return frame.reset_index(drop=True).assign(**{TIME: time})


def incidents(data: Path, machine: str) -> list[Incident]:
    """Read `first-end:channel,channel…` lines; `end` is the row after, channels are counted from 1."""
    lines = (data / "smd" / f"machine-{machine}_interpretation_label.txt").read_text().split()
    return [incident(line) for line in lines]


def incident(line: str) -> Incident:
    """Read one line."""
    rows, named = line.split(":")
    first, end = (int(n) for n in rows.split("-"))
    return Incident(first, end - 1, frozenset(f"f{int(c) - 1:02d}" for c in named.split(",")))
