"""A crash anywhere in scoring and flagging loses nothing and doubles nothing."""

import os
import subprocess
import sys
from collections import Counter

import pytest

from pipeline.steps import Offbeat
from tests.steps import kit

KILLS = int(os.environ.get("OFFBEAT_KILLS", "50"))


def outcome(home):
    work = Offbeat.open(home)
    anomalies = [(a["id"], a["start"], a["end"], a["status"]) for a in work.anomalies("plant")]
    return kit.scores(home), anomalies


@pytest.mark.slow
def test_fifty_kills_lose_no_score_and_double_no_alert(home, tmp_path, _learned):
    kit.feed(home, "later.csv", kit.plant(2 * kit.DAY, 600))
    command = [sys.executable, "-m", "tests.steps.killed_scoring", str(home.root), str(home.project)]
    done = subprocess.run(
        [*command, str(KILLS), "1"], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[-1]) >= KILLS // 2  # the rest had ended before
    stored, anomalies = outcome(home)

    undisturbed = kit.copy(_learned, tmp_path / "undisturbed")
    kit.feed(undisturbed, "later.csv", kit.plant(2 * kit.DAY, 600))
    kit.judge_all(undisturbed)
    assert (stored, anomalies) == outcome(undisturbed)
    assert max(Counter((row["entity"], row["time"]) for row in stored).values()) == 1
    assert Offbeat.open(home).deliver()["sent"] == 2  # one firing, one resolve
