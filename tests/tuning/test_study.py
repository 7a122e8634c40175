"""The search: begins with what is there, goes on where it was killed, and lets nobody else in."""

import os
import random
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from pipeline.errors import Conflict, DataError, NotEnoughData, Unavailable
from pipeline.tuning import Plan, Space, Study, alone, identity
from tests.tuning import kit
from tests.tuning.killed_search import search, worth

SPACE = Space(kit.plant(), (16, 32, 64))
ROOT = Path(__file__).parents[2]


def quick(trial, in_time):
    return worth(trial.params)


def child(file, trials):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.tuning.killed_search", str(file), str(trials)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def test_trial_zero_is_the_present_configuration_and_nothing_found_is_worse(tmp_path):
    study = search(tmp_path / "s.db", 9, quick)
    assert [trial.number for trial in study.trials] == list(range(9))
    assert study.trials[0].params == SPACE.current
    assert len({tuple(trial.params.items()) for trial in study.trials}) == 9
    assert max(trial.value for trial in study.trials) > study.trials[0].value
    shares = study.importances()
    assert sum(shares.values()) == pytest.approx(1)
    assert {"model.latent", "model.dropout"} & set(list(shares)[:3])


def test_killed_again_and_again_it_tries_what_an_unbroken_search_tries(tmp_path):
    whole = search(tmp_path / "whole.db", 8, quick)
    chance = random.Random(3)
    for _ in range(2):
        with child(tmp_path / "killed.db", 8) as running:
            running.stdout.readline()
            time.sleep(chance.uniform(0, 0.3))
            running.send_signal(signal.SIGKILL)
    study = search(tmp_path / "killed.db", 8, quick)
    assert [t.params for t in study.complete] == [t.params for t in whole.complete]
    assert [t.value for t in study.complete] == [t.value for t in whole.complete]
    assert study.trials[0].params == SPACE.current


def test_a_second_process_is_turned_away_and_harms_nothing(tmp_path):
    file = tmp_path / "s.db"
    with child(file, 60) as running:
        running.stdout.readline()
        with pytest.raises(Conflict, match="being tuned by another process"):
            search(file, 60, quick)
        running.send_signal(signal.SIGKILL)
    with alone(file.with_suffix(".lock"), "plant"):  # a process that died holds no lock
        pass


def test_trials_of_earlier_sessions_count(tmp_path):
    search(tmp_path / "s.db", 3, quick)
    judged = []
    study = search(tmp_path / "s.db", 5, lambda trial, _: judged.append(trial.number) or 0.0)
    assert judged == [3, 4]
    assert len(study.trials) == 5
    search(tmp_path / "s.db", 5, lambda *_: pytest.fail("all five are there"))


def out_of_time_at(number):
    def judge(trial, in_time):
        while trial.number >= number:
            in_time()
            time.sleep(0.05)
        return worth(trial.params)

    return judge


def test_a_session_ends_in_time_and_the_next_takes_the_trial_up_again(tmp_path):
    study = Study(tmp_path / "s.db", "plant")
    study.search(SPACE, Plan(9, timedelta(seconds=3)), out_of_time_at(1))
    assert len(study.trials) == 1
    study = Study(tmp_path / "s.db", "plant")
    study.revive()
    study.search(SPACE, Plan(3), quick)
    assert [trial.number for trial in study.trials] == [0, 2, 3]  # 1 is begun again as 2
    again = study._optuna.trials
    assert again[1].params == again[2].params


def test_the_present_configuration_is_judged_whatever_the_time(tmp_path):
    study = Study(tmp_path / "s.db", "plant")

    def slow(trial, in_time):
        time.sleep(0.2)
        in_time()
        return 0.0

    study.search(SPACE, Plan(9, timedelta(seconds=0.1)), slow)
    assert [trial.params for trial in study.complete] == [SPACE.current]


def test_a_trial_that_dies_twice_has_failed(tmp_path):
    def die(trial, in_time):
        if trial.number:
            raise KeyboardInterrupt
        return 0.0

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path / "s.db", 3, die)
    study = search(tmp_path / "s.db", 3, quick)
    assert [trial.state for trial in study.trials] == [
        TrialState.COMPLETE,
        TrialState.FAIL,
        TrialState.COMPLETE,
    ]


def test_a_search_whose_first_trial_died_begins_again_as_trial_zero(tmp_path):
    def die(trial, in_time):
        trial.set_user_attr("run", "abc")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "s.db", 3, die)
    study = Study(tmp_path / "s.db", "plant")
    study.remember(tune="parent")
    assert study.revive() == ["abc"]
    assert study.about == {"tune": "parent"}
    study.search(SPACE, Plan(2), quick)
    assert [trial.number for trial in study.complete] == [0, 1]
    assert study.complete[0].params == SPACE.current


def test_begun_anew_it_forgets(tmp_path):
    study = search(tmp_path / "s.db", 3, quick)
    study.remember(span=[1, 2])
    study.revive(anew=True)
    assert (study.trials, study.about) == ([], {})


def test_settings_that_cannot_be_trained_fail_alone_but_the_present_ones_are_an_error(tmp_path):
    def fussy(trial, in_time):
        if trial.number == 1:
            raise NotEnoughData("too short")
        return 0.0

    study = search(tmp_path / "s.db", 3, fussy)
    assert [t.state for t in study.trials] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
    assert study.trials[1].user_attrs["why"] == "NotEnoughData: too short"

    def never(trial, in_time):
        raise NotEnoughData("too little history")

    for _ in range(2):
        with pytest.raises(NotEnoughData, match="too little history"):
            search(tmp_path / "other.db", 3, never)


def test_what_may_work_later_ends_the_session_and_is_tried_again(tmp_path):
    def away(trial, in_time):
        if trial.number == 1:
            raise Unavailable("MLflow does not answer")
        return 0.0

    with pytest.raises(Unavailable):
        search(tmp_path / "s.db", 3, away)
    assert len(search(tmp_path / "s.db", 3, quick).complete) == 3


def test_a_trial_below_the_median_is_pruned(tmp_path):
    def judge(trial, in_time):
        value = 0.0 if trial.number < 6 else -1.0
        trial.report(value, step=0)
        if trial.should_prune():
            raise optuna.TrialPruned
        return value

    study = search(tmp_path / "s.db", 7, judge)
    assert [trial.state for trial in study.trials[5:]] == [TrialState.COMPLETE, TrialState.PRUNED]


def test_other_settings_or_another_seed_are_another_study():
    plain = kit.plant()
    same = kit.plant(description="other words", schedules={"train": "1d"})
    others = (kit.plant(model={"latent": 5}), kit.plant(channels=2), kit.plant(window={"length": 48}))
    assert identity(plain, 7) == identity(same, 7)
    assert len({identity(plain, 7), identity(plain, 8), *(identity(each, 7) for each in others)}) == 5


def test_a_damaged_file_is_an_error_that_says_what_to_do(tmp_path):
    (tmp_path / "s.db").write_bytes(b"no database" * 1000)
    with pytest.raises(DataError, match="delete it to begin again"):
        Study(tmp_path / "s.db", "plant")
