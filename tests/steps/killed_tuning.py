"""A tuning that dies by SIGKILL in its second trial: `python -m tests.steps.killed_tuning ROOT`."""

import os
import signal
import sys
from pathlib import Path

from pipeline.home import Home
from pipeline.steps import Offbeat
from pipeline.tuning import sensors

FAULTS = 2  # of each kind: few, to be quick


def die(told):
    if told.get("trial") == 1 and "epoch" in told:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sensors.EACH = FAULTS
    root = Path(sys.argv[1])
    Offbeat.open(Home(root / "home", root)).tune("plant", trials=2, tell=die)
