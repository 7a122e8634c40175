"""A search that a test kills: `python killed_search.py FILE TRIALS`; says so when a trial begins."""

import sys
import time
from pathlib import Path

from pipeline.tuning import Plan, Space, Study, alone
from tests.tuning import kit


def judge(trial, in_time):
    print(trial.number, flush=True)
    time.sleep(0.05)
    return worth(trial.params)


def worth(params):
    return -abs(params["model.latent"] - 40) / 100 - params["model.dropout"] / 10


def search(file, trials, do=judge):
    with alone(file.with_suffix(".lock"), "plant"):
        study = Study(file, "plant")
        study.revive()
        study.search(Space(kit.plant(), (16, 32, 64)), Plan(trials), do)
        return study


if __name__ == "__main__":
    search(Path(sys.argv[1]), int(sys.argv[2]))
