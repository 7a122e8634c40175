"""Feedback: what people call a false alarm is not raised again, and faults are still found."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.scoring import Scorer
from pipeline.steps import Offbeat
from pipeline.steps.score import champion
from tests.steps import kit
from tests.steps.kit import DAY, MINUTE, START

CLEANING, FAULT, EVERY = 30, 30, 480
"""Minutes: how long each lasts, and how often the pump is cleaned, from the fourth day on."""
FIRST, SECOND, LAST = 3 * DAY, 6 * DAY, 9 * DAY

PUMP = """
kind: sensor
source: {path: data/pump, settle: 0s}
fields:
  entity: pump
  channels: [{name: flow, unit: m3/h}, {name: power, unit: kW}, {name: temperature, unit: °C}]
window: {length: 16, stride: 4, delay: 3}
model: {units: [16], latent: 4, epochs: 8}
alert: {false_alarms: 1/day, merge: 10m}
schedules: {ingest: never, train: never, score: never, watch: never}
"""


def cleanings(first, last):
    return [c for c in range(FIRST + 200, LAST - 100, EVERY) if first <= c < last]


def faults():
    """Of three kinds in turn: the flow falls, the power drifts, the temperature trembles."""
    return [at for at in range(SECOND + 100, LAST - 100, 240) if abs((at - 200) % EVERY - 240) < 120]


def readings(seed):
    minute, rng = np.arange(LAST), np.random.default_rng(seed)
    swing = np.sin(2 * np.pi * minute / 180)
    flow, power, heat = 100 + 20 * swing, 50 + 8 * swing, 40 + 3 * np.sin(2 * np.pi * minute / 180 - 1)
    values = np.column_stack([flow, power, heat]) + rng.normal(size=(LAST, 3)) * [1, 0.5, 0.3]
    bump = np.sin(np.pi * (np.arange(CLEANING) + 0.5) / CLEANING)  # slowly down, and up again
    for at in cleanings(0, LAST):
        values[at : at + CLEANING] += bump[:, None] * [-25, 10, 5]
    for number, at in enumerate(faults()):
        span = slice(at, at + FAULT)
        if number % 3 == 0:
            values[span, 0] = 20
        elif number % 3 == 1:
            values[span, 1] += np.linspace(0, 25, FAULT)
        else:
            values[span, 2] += 4 * rng.normal(size=FAULT)
    return values


def feed(home, values, first, last):
    path = home.project / "data" / "pump" / f"{first}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        [(START + m * MINUTE).isoformat(), "a", *(f"{v:.3f}" for v in values[m])] for m in range(first, last)
    ]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["time", "pump", "flow", "power", "temperature"], *rows])


def hit(flagged, spots, length):
    """Return the share of spots in which something was flagged."""
    return float(np.mean([flagged[at : at + length + 4].any() for at in spots]))


def flagged_by(work, version):
    """Return which minutes a version would flag."""
    stream = work.stream("pump")
    (judged,) = Scorer.of(version.bundle, stream).judge(work.observations(stream).read(None, None))
    assert len(judged.scored.flag) == LAST
    return judged.scored.flag


@pytest.mark.parametrize("seed", range(int(os.environ.get("OFFBEAT_SEEDS", "1"))))
def test_false_alarms_fall_by_four_fifths_after_feedback_and_faults_are_found(tmp_path, seed):
    """A pump is cleaned three times a day, which its first history did not have: harmless, and flagged."""
    home, values = kit.project(tmp_path, pump=PUMP), readings(seed)
    work = Offbeat.open(home)
    feed(home, values, 0, FIRST)
    work.ingest("pump")
    work.train("pump")
    before = champion(work, work.stream("pump"))
    feed(home, values, FIRST, SECOND)
    work.ingest("pump")
    work.score_all("pump")
    for found in work.anomalies("pump", limit=100):
        work.answer(found["id"], "false_alarm", who="Ann", why="cleaning")
    marked = len(work.anomalies("pump", limit=100))
    again = work.train("pump")
    assert again["promoted"], again["reason"]
    after = champion(work, work.stream("pump"))
    feed(home, values, SECOND, LAST)
    work.ingest("pump")
    old, new = flagged_by(work, before), flagged_by(work, after)
    alarms = [hit(flags, cleanings(SECOND, LAST), CLEANING) for flags in (old, new)]
    found = [hit(flags, faults(), FAULT) for flags in (old, new)]
    print(f"seed {seed}: {marked} marked; false alarms {alarms}; faults found {found}")
    assert alarms[0] > 0.8, "the test means nothing if they were not flagged before"
    assert alarms[1] <= 0.2 * alarms[0]
    assert found[1] >= 0.9 * found[0] > 0.8
    _check_what_is_logged(work, again, marked)


def _check_what_is_logged(work, told, marked):
    version = work.registry.version("pump", told["version"])
    assert version.tags["offbeat.feedback.false_alarm"] == str(marked)
    assert version.metrics["feedback.false_alarm"] == marked
    assert 1 < version.metrics["feedback.raised"] <= 2
    run = work.registry._client
    kept = run.download_artifacts(told["run_id"], "feedback.json")
    assert {each["why"] for each in json.loads(Path(kept).read_text())} == {"false_alarm"}
    first = work.registry.version("pump", 1)
    assert (first.tags["offbeat.alerts.false_alarm"], first.metrics["alerts.precision"]) == (str(marked), 0)
