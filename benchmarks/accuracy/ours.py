"""Offbeat, as `offbeat detect` runs it: the one place where the bench touches the detector.

In: an Arrow table and what `offbeat detect` would be told. Out: arrays: scores, flags, the channels that
contributed, and the alert budget that was declared. No label is passed unless a suite says so.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.accuracy.work import Arrays, Settings


def detected(table: pa.Table, settings: Settings, **asked: Any) -> Arrays:
    """Fit and score one table.

    Args:
        table: rows in the file's order.
        settings: preset and seed are passed on.
        asked: fields of `pipeline.oneshot.Ask`.

    Returns:
        `score` float64 [T] (1 is the threshold), `onset` float32 [T] (of sensors), `flag` [T], `top` names
        [T, 3], `per_second` of the alert budget, `merge_s` within which flags are one alarm.

    Raises:
        ValueError: a score is missing or not finite: every row must have one.
    """
    from pipeline.oneshot import Ask, detect

    settings.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.work) as made:
        ask = Ask(seed=settings.seed, preset=settings.preset, **asked)  # type: ignore[arg-type]
        found = detect(table, ask, folder=Path(made))
    score = found.scores["score"].to_numpy().astype(np.float64)
    if len(score) != table.num_rows or not np.isfinite(score).all():
        raise ValueError(f"{np.isfinite(score).sum()} finite scores for {table.num_rows} rows")
    names = [found.scores[f"top{n}_channel"].to_numpy(zero_copy_only=False) for n in (1, 2, 3)]
    alert = found.stream.alert
    return {
        "score": score,
        **{name: found.scores[name].to_numpy() for name in ("onset",) if name in found.scores.column_names},
        "flag": found.scores["flag"].to_numpy(zero_copy_only=False).astype(bool),
        "top": np.array([["" if n is None else str(n) for n in row] for row in zip(*names, strict=True)]),
        "per_second": np.array(alert.false_alarms.per_second),
        "merge_s": np.array(alert.merge.total_seconds()),
    }
