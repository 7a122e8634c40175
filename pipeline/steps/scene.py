"""The scene of an anomaly: what its channels did, what the model expected, and the score, around it.

In: a recorded anomaly. Out: arrays to draw, from scoring that stretch again with the version that found it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from pipeline.alerts.picture import Scene
from pipeline.config.models import SensorStream
from pipeline.scoring import Judged, Scorer, micros
from pipeline.steps.score import fetch

if TYPE_CHECKING:
    from datetime import datetime

    from pipeline.config.models import Stream
    from pipeline.events import Anomaly
    from pipeline.workspace import Workspace

CHANNELS = 3
STEPS_AROUND = 90  # of a sensor's grid, at least, before and after
DAYS_AROUND = timedelta(days=3)  # of a card's transactions
_INSTANT = timedelta(microseconds=1)


def restore(work: Workspace, name: str, version: int) -> Scorer:
    """Return what scored with a model version, for the stream as it is configured now."""
    stream = work.stream(name)
    return Scorer.of(fetch(work, stream, version), stream)


def scene(work: Workspace, anomaly: Anomaly, title: str, scorer: Scorer) -> Scene | None:
    """Return what to draw; None where the records are gone."""
    stream = work.stream(anomaly.stream)
    start, end = around(stream, anomaly)
    records = work.observations(stream).read(
        start - scorer.context, end + _INSTANT, entities=[anomaly.entity]
    )
    judged = [j for j in scorer.judge(records, start=start) if j.rows.series.entity == anomaly.entity]
    return _scene(stream, anomaly, title, judged, (start, end)) if judged else None


def around(stream: Stream, anomaly: Anomaly) -> tuple[datetime, datetime]:
    """Return from when to when an anomaly is shown: itself, and what was usual beside it."""
    lasted = anomaly.end - anomaly.start
    if not isinstance(stream, SensorStream):
        return anomaly.start - DAYS_AROUND, anomaly.end + DAYS_AROUND / 3
    margin = max(STEPS_AROUND * stream.grid.step, lasted / 2)
    return anomaly.start - margin, anomaly.end + margin


def _scene(
    stream: Stream, anomaly: Anomaly, title: str, judged: list[Judged], span: tuple[datetime, datetime]
) -> Scene:
    named = [c.channel for c in anomaly.channels if c.channel in stream.channels][:CHANNELS]
    columns = [stream.channels.index(name) for name in named]
    time = np.concatenate([j.rows.series.time for j in judged])
    shown = (time >= micros(span[0])) & (time <= micros(span[1]))
    return Scene(
        title=title,
        time=time[shown],
        actual=np.concatenate([j.rows.series.actual for j in judged])[shown][:, columns],
        expected=np.concatenate([j.rows.expected for j in judged])[shown][:, columns],
        score=np.concatenate([j.scored.score for j in judged])[shown].astype(np.float64),
        names=named,
        units=[stream.units.get(name, "") for name in named],
        start=anomaly.start,
        end=anomaly.end,
        curve=isinstance(stream, SensorStream),
    )
