"""A crash anywhere in watching loses no alert and doubles none."""

import os
import subprocess
import sys

import pytest

from pipeline.steps import Offbeat
from tests.steps import kit
from tests.steps.watch_kit import PLANT, Plant, recorded, rows

KILLS = int(os.environ.get("OFFBEAT_KILLS", "50"))
NOW = 2 * kit.DAY


def prepared(root):
    plant = Plant(root, PLANT + "watch: {late: never}\n")
    plant.feed(rows(0, NOW))
    plant.watch(NOW)
    return plant


def later():
    return sorted(rows(NOW, 90) + rows(NOW + 90, 120, "a", flow="55.5") + rows(NOW + 210, 60))


def keys(plant):
    return sorted(alert["key"] for alert in plant.told())


@pytest.mark.slow
def test_fifty_kills_lose_no_alert_and_double_none(tmp_path):
    killed, undisturbed = prepared(tmp_path / "killed"), prepared(tmp_path / "undisturbed")
    readings = later()
    for number, begin in enumerate(range(0, len(readings), 40)):
        killed.feed(readings[begin : begin + 40])
        staged = killed.home.project / "staged" / f"later-{number:03}.csv"
        staged.parent.mkdir(exist_ok=True)
        (killed.home.project / "data" / "plant" / f"{killed.files:04}.csv").rename(staged)
    command = [sys.executable, "-m", "tests.steps.killed_watching", killed.home.root, killed.home.project]
    done = subprocess.run(
        [*map(str, command), str(KILLS), "1"], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[-1]) >= KILLS // 4  # the rest had ended before
    undisturbed.feed(readings)
    Offbeat.open(undisturbed.home).ingest("plant")
    Offbeat.open(undisturbed.home).watch("plant")
    assert recorded(killed) == recorded(undisturbed)
    assert {kind for _, kind, *_ in recorded(killed)[0]} == {"silence", "flatline"}
    assert keys(killed) == keys(undisturbed)
    assert len(keys(killed)) == 4
