"""Ingests and watches the plant again and again, in children that are killed at random moments.

`python -m tests.steps.killed_watching HOME PROJECT KILLS SEED`. One warm parent forks, as in killed_scoring.
Every now and then one more file of `staged/` comes into the source, so that there is something to lose.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from pipeline.home import Home
from pipeline.steps import Offbeat, watch

LONGEST = 0.25  # seconds a child lives at most


def child(home: Home) -> None:
    """Do the work once."""
    watch.CELLS = 300  # pieces of a hundred records
    work = Offbeat.open(home)
    work.ingest("plant")
    work.watch("plant")


def arrive(path: Path) -> None:
    """Move a staged file into the source."""
    path.rename(path.parents[1] / "data" / "plant" / path.name)


def main() -> None:
    """Kill, then let one run end."""
    home = Home(Path(sys.argv[1]), Path(sys.argv[2]))
    kills, dice = int(sys.argv[3]), random.Random(int(sys.argv[4]))
    staged, killed = sorted((home.project / "staged").iterdir()), 0
    for left in range(kills, 0, -1):
        if staged and dice.random() < 2 * len(staged) / left:
            arrive(staged.pop(0))
        pid = os.fork()
        if not pid:
            child(home)
            os._exit(0)
        time.sleep(dice.uniform(0.005, LONGEST))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        killed += os.WIFSIGNALED(status)
    for path in staged:
        arrive(path)
    child(home)
    print(killed)


if __name__ == "__main__":
    main()
