"""`python -m pipeline.simulate FOLDER`: write a history where there is none, then let the feeds grow."""

from __future__ import annotations

import argparse
import signal
import threading
from datetime import timedelta
from pathlib import Path

from pipeline import clock
from pipeline.simulate.live import live
from pipeline.simulate.writer import FEEDS, write_history, written_until


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.simulate", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the feeds are, or will be")
    parser.add_argument("--speedup", type=float, default=60.0, help="simulated seconds in one (60)")
    parser.add_argument("--history", type=int, default=21, help="days to write first, where none are (21)")
    parser.add_argument("--behind", type=int, default=2, help="days between that history and now (2)")
    parser.add_argument("--seed", type=int, default=7, help="the same seed writes the same lines (7)")
    arguments = parser.parse_args()
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stopped.set())
    missing = [name for name in FEEDS if written_until(arguments.folder / name) is None]
    if missing:
        end = clock.now() - timedelta(days=arguments.behind)
        write_history(arguments.folder, days=arguments.history, seed=arguments.seed, end=end, feeds=missing)
    live(arguments.folder, arguments.speedup, seed=arguments.seed, stop=stopped.is_set)


if __name__ == "__main__":
    main()
