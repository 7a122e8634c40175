"""Scores, flags and records the plant again and again, in children that are killed at random moments.

`python -m tests.steps.killed_scoring HOME PROJECT KILLS SEED`. One warm parent forks: 50 starts of Python
would take minutes. Pieces are small, so that a kill falls between two commits as often as inside one.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from pipeline.home import Home
from pipeline.steps import Offbeat, flag, score  # noqa: F401 - imported before the fork

PIECE = 120  # cells: 60 rows of two channels
LONGEST = 0.6  # seconds a child lives at most


def child(home: Home) -> None:
    """Do the work once."""
    score.CELLS = PIECE
    work = Offbeat.open(home)
    work.ingest("plant")
    work.score_all("plant")


def main() -> None:
    """Kill, then let one run end."""
    home = Home(Path(sys.argv[1]), Path(sys.argv[2]))
    kills, dice = int(sys.argv[3]), random.Random(int(sys.argv[4]))
    killed = 0
    for _ in range(kills):
        pid = os.fork()
        if not pid:
            child(home)
            os._exit(0)
        time.sleep(dice.uniform(0.02, LONGEST))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        killed += os.WIFSIGNALED(status)
    child(home)
    print(killed)


if __name__ == "__main__":
    main()
