"""A small plant with a known fault, and a project around it, for tests of the steps."""

from __future__ import annotations

import csv
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from pipeline.home import Home
from pipeline.steps import Offbeat

START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = 1440
TRAINED = START + 2 * DAY * MINUTE
FAULT = (TRAINED + 300 * MINUTE, TRAINED + 360 * MINUTE)

PLANT = """
kind: sensor
source: {path: data/plant, settle: 0s}
fields:
  entity: pump
  channels: [{name: flow, unit: m3/h}, {name: power, unit: kW}]
window: {length: 16, stride: 4, delay: 3}
model: {units: [16], latent: 4, epochs: 6}
alert: {false_alarms: 1/day, merge: 10m}
lateness: 5m
schedules: {ingest: never, train: never, score: never, watch: never}
"""
ALERTS = "receivers: {log: {type: log}}\n"


def project(root: Path, **streams: str) -> Home:
    """Write configs for streams given as YAML."""
    folder = root / "configs" / "streams"
    folder.mkdir(parents=True)
    (root / "configs" / "alerts.yaml").write_text(ALERTS)
    for name, text in streams.items():
        (folder / f"{name}.yaml").write_text(text)
    return Home(root / "home", root)


def plant(first: int, minutes: int, *, seed: int = 0) -> list[list[str]]:
    """Return readings of two pumps from minute `first` on; pump b loses its flow during FAULT."""
    rows = []
    for pump, phase in (("a", 0.0), ("b", 1.0)):
        noise = np.random.default_rng(seed + (pump == "b")).normal(size=(10 * DAY, 2))
        for minute in range(first, first + minutes):
            when = START + minute * MINUTE
            swing = np.sin(2 * np.pi * minute / 180 + phase)
            flow, power = 100 + 20 * swing + noise[minute, 0], 50 + 8 * swing + 0.5 * noise[minute, 1]
            if pump == "b" and FAULT[0] <= when < FAULT[1]:
                flow = 20.0
            rows.append([when.isoformat(), pump, f"{flow:.3f}", f"{power:.3f}"])
    return rows


def glitch(minutes: int) -> list[list[str]]:
    """Return so many minutes of pump a after training; a reading of the sixtieth has no flow."""
    rows = [row for row in plant(2 * DAY, minutes) if row[1] == "a"]
    when, pump, _, power = rows[60]
    return [*rows[:60], [when, pump, "0.000", power], *rows[61:]]


def mended() -> list[list[str]]:
    """Return further readings of that minute: all is well."""
    when, pump, flow, power = plant(2 * DAY + 60, 1)[0]
    later = (datetime.fromisoformat(when) + timedelta(milliseconds=50 * n) for n in range(1, 1000))
    return [[each.isoformat(), pump, flow, power] for each in later]


def feed(home: Home, name: str, rows: list[list[str]], stream: str = "plant") -> None:
    """Put a file into the plant's source."""
    path = home.project / "data" / stream / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["time", "pump", "flow", "power"], *rows])


def trained(root: Path) -> Home:
    """Return a home whose plant has learned two normal days; nothing is scored yet."""
    home = project(root, plant=PLANT)
    feed(home, "history.csv", plant(0, 2 * DAY))
    work = Offbeat.open(home)
    work.ingest("plant")
    work.train("plant")
    return home


def judge_all(home: Home) -> dict[str, object]:
    """Ingest, score and flag what is there."""
    work = Offbeat.open(home)
    work.ingest("plant")
    return work.score_all("plant")


def scores(home: Home) -> list[dict[str, object]]:
    """Return what is stored, in order."""
    work = Offbeat.open(home)
    return work.scores(work.stream("plant")).read(None, None).to_pylist()


MENDED = mended()


def copy(home: Home, to: Path) -> Home:
    """Return a home with the same tables, configs and database, all its own."""
    shutil.copytree(home.project, to)
    return Home(to / "home", to)
