"""What a person, or a machine, is told at the end of `offbeat detect`.

In: what was found. Out: one flat dict, and lines about the worst anomalies.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from pipeline.alerts.text import clean, span
from pipeline.evaluation import Figures
from pipeline.oneshot.anomalies import Anomaly, lasted, sentence
from pipeline.oneshot.clock import Clock
from pipeline.oneshot.detect import Found

WORST = 5
"""Anomalies told of on a terminal."""


def summary(found: Found, figures: Figures | None) -> dict[str, Any]:
    """Return what there is to say in numbers."""
    layout, rows = found.layout, found.rows
    told: dict[str, Any] = {
        "rows": len(rows.score),
        "entities": len(layout.entities),
        "channels": len(found.stream.channels),
        "learned_from": int(layout.train.sum()),
        "budget": budget(found),
        "anomalies": len(found.anomalies),
        "flagged": int(rows.flag.sum()),
        "highest_score": float(rows.score.max()),
        "epochs": found.learned.trained[""].epochs,
    }
    if figures:
        told["judged"] = "rows not learned from" if not layout.train.all() else "all rows"
        told |= {f"judged_{k}" if k == "rows" else k: v for k, v in asdict(figures).items() if k != "alarms"}
    return told


def budget(found: Found) -> str:
    """Say the alert budget as a person would: by rows where time is a counter."""
    rate = found.stream.alert.false_alarms
    if found.layout.clock.real:
        return str(rate)
    per_row = rate.per_second * _seconds_a_row(found)
    return f"1/{round(1 / per_row):,} rows" if per_row < 0.5 else f"{per_row:.2g}/row"


def lines(found: Found, most: int = WORST) -> list[str]:
    """Say in words what the worst anomalies are, one a line."""
    return [line(found, anomaly) for anomaly in found.anomalies[:most]]


def line(found: Found, anomaly: Anomaly) -> str:
    """Say in one line what, where and how bad: `critical 12.3  pump-2  2026-03-01 06:10, 12 min: …`."""
    who = "" if found.ask.entity is None else f"{clean(anomaly.entity, 40)}  "
    words = sentence(anomaly, found.ask.kind)
    return f"{anomaly.severity:<8} {anomaly.score:>6.1f}  {who}{when(found, anomaly)}: {words}"


def when(found: Found, anomaly: Anomaly) -> str:
    """Say when an anomaly began, and how long it lasted where it did."""
    clock = found.layout.clock
    began = moment(clock, anomaly.first)
    if anomaly.first == anomaly.last:
        return began
    if not clock.real:
        return f"{began} to {moment(clock, anomaly.last)}"
    length = span(lasted(anomaly, found.layout))
    return f"{began} for {length}" if length != "0 s" else began


def moment(clock: Clock, row: int) -> str:
    """Write a row's time: a date and time of day, or the counter's number."""
    value = clock.value[row]
    if not clock.real:
        return f"{value:,}" if isinstance(value, np.integer) else f"{value:,.6g}"
    at = np.datetime64(round(float(value) * clock.micros), "us")
    return str(at.astype("datetime64[s]")).replace("T", " ")


def _seconds_a_row(found: Found) -> float:
    if found.stream.kind == "sensor":
        return float(found.stream.grid.step.total_seconds()) / len(np.unique(found.layout.entity))
    time = found.layout.time
    return max(float(time.max() - time.min()) / 1e6, 1.0) / len(time)
