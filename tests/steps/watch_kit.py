"""A plant that is watched, whose clock stands where a test says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline import clock
from pipeline.steps import Offbeat
from tests.steps import kit

PLANT = "owner: Plant engineering\ndescription: Look at the valve." + kit.PLANT


def rows(first: int, minutes: int, *pumps: str, flow: str = "") -> list[list[str]]:
    """Return readings of some pumps; `flow` replaces what they measure."""
    wanted = [row for row in kit.plant(first, minutes) if row[1] in (pumps or ("a", "b"))]
    return [[when, pump, flow, power] for when, pump, _, power in wanted] if flow else wanted


class Plant:
    """A plant in a project of its own."""

    def __init__(self, root: Path, text: str = PLANT) -> None:
        self.home, self.files = kit.project(root, plant=text), 0

    def feed(self, *readings: list[list[str]]) -> None:
        """Put one more file into the source."""
        self.files += 1
        kit.feed(self.home, f"{self.files:04}.csv", [row for part in readings for row in part])

    def watch(self, minute: int) -> dict[str, Any]:
        """Ingest and look, at so many minutes after the start."""
        with clock.frozen(kit.START + minute * kit.MINUTE):
            work = Offbeat.open(self.home)
            work.ingest("plant")
            return work.watch("plant")

    def found(self) -> list[tuple[str, str, str]]:
        """Return kind, entity and status of every anomaly."""
        return [(a["kind"], a["entity"], a["status"]) for a in Offbeat.open(self.home).anomalies("plant")]

    def told(self) -> list[dict[str, Any]]:
        """Deliver, and return every alert."""
        with clock.frozen(kit.START + 3650 * kit.DAY * kit.MINUTE):  # after whatever time it is now
            Offbeat.open(self.home).deliver()
        path = self.home.alerts / "plant.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def titles(self) -> list[str]:
        """Deliver, and return the title of every alert."""
        return [alert["title"] for alert in self.told()]


def recorded(*plants: Plant) -> list[list[tuple[Any, ...]]]:
    """Return what each plant knows, to compare."""
    facts = ("id", "kind", "entity", "start", "end", "status", "silent")
    return [[tuple(a[f] for f in facts) for a in Offbeat.open(p.home).anomalies()] for p in plants]


def counts(done: dict[str, Any]) -> tuple[int, int, int]:
    """Return what a look opened, closed and queued."""
    return done["opened"], done["closed"], done["alerts"]
