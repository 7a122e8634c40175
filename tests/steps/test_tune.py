"""Tuning a stream for real: Optuna, trainings and MLflow; killed in the middle, and run again."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import structlog
import yaml
from mlflow import MlflowClient
from typer.testing import CliRunner

from pipeline import cli
from pipeline.errors import NotEnoughData
from pipeline.steps import Offbeat
from pipeline.tuning import sensors
from pipeline.tuning.bends import KINDS
from tests.steps import kit
from tests.steps.killed_tuning import FAULTS

ROOT = Path(__file__).parents[2]
PLANT = kit.PLANT.replace(
    "units: [16], latent: 4, epochs: 6", "units: [8], latent: 4, epochs: 2, max_windows: 300"
)
FOUND = set(KINDS) - {"swapped channels"}  # its two channels move alike: swapping them changes nothing
RUN = CliRunner().invoke


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    made = kit.project(tmp_path_factory.mktemp("tuned") / "plant", plant=PLANT)
    kit.feed(made, "history.csv", kit.plant(0, 900))
    Offbeat.open(made).ingest("plant")
    return made


@pytest.fixture(scope="module")
def tuned(home):
    """What a tuning says that was killed in its second trial and run again."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.steps.killed_tuning", str(home.project)]
    died = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=600, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    before = runs(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sensors, "EACH", FAULTS)
        told = []
        result = Offbeat.open(home).tune("plant", trials=2, tell=told.append)
    return before, result, told


def runs(home):
    client = MlflowClient(home.tracking)
    experiments = [each.experiment_id for each in client.search_experiments()]
    return {run.info.run_id: run for run in client.search_runs(experiments, max_results=100)}


def nested(found, parent):
    return [run for run in found.values() if run.data.tags.get("mlflow.parentRunId") == parent]


def test_a_killed_tuning_goes_on_where_it_was(home, tuned):
    before, result, told = tuned
    assert (result["trials"], result["failed"], result["pruned"]) == (2, 0, 0)
    begun = [each["trial"] for each in told if "params" in each]
    assert begun == [2]  # 0 was done; 1 died and is begun again as 2
    now = runs(home)
    [first] = [run for run in nested(before, result["run_id"]) if run.info.status == "FINISHED"]
    [dead] = [run for run in nested(before, result["run_id"]) if run.info.status == "RUNNING"]
    assert now[dead.info.run_id].info.status == "KILLED"
    assert now[first.info.run_id].data.metrics == first.data.metrics
    assert result["current"]["run_id"] == first.info.run_id
    retried = next(
        run for run in nested(now, result["run_id"]) if run.data.tags["mlflow.runName"] == "trial 2"
    )
    assert retried.data.params == dead.data.params


def test_mlflow_has_one_run_with_the_trials_in_it(home, tuned):
    _, result, _ = tuned
    now = runs(home)
    [parent] = [run for run in now.values() if run.data.tags["offbeat.kind"] == "tune"]
    assert (parent.info.run_id, parent.info.status) == (result["run_id"], "FINISHED")
    trials = [run for run in nested(now, parent.info.run_id) if run.info.status == "FINISHED"]
    assert len(trials) == 2
    for run in trials:
        assert run.data.params["model.architecture"]
        assert {"value", "detection", "fresh", "error", "epochs", "seconds", "val_loss"} <= set(
            run.data.metrics
        )
        assert {name for name in run.data.metrics if name.startswith("fault.")} == {
            f"fault.{k}" for k in FOUND
        }
    client = MlflowClient(home.tracking)
    files = {each.path for each in client.list_artifacts(parent.info.run_id)}
    assert {"recommended.yaml", "trials.json", "stream.yaml", "figures"} <= files
    figures = {Path(each.path).name for each in client.list_artifacts(parent.info.run_id, "figures")}
    assert "search.png" in figures
    assert parent.data.tags["best.model.units"] == result["best"][0]["params"]["model.units"]


def test_trial_zero_is_what_the_yaml_says_and_the_best_is_no_worse(home, tuned):
    _, result, _ = tuned
    assert result["current"]["trial"] == 0
    now = Offbeat.open(home).stream("plant")
    params = result["current"]["params"]
    assert (params["window.length"], params["model.units"], params["model.latent"]) == (16, "8", 4)
    assert params["model.architecture"] == now.model.architecture
    assert result["best"][0]["value"] >= result["current"]["value"]
    assert set(result["current"]["faults"]) == FOUND
    assert all(0 < precision <= 1 for precision in result["current"]["faults"].values())


def test_the_user_s_yaml_and_champion_are_left_alone(home, tuned):
    assert (home.configs / "streams" / "plant.yaml").read_text() == PLANT
    assert Offbeat.open(home).registry.champion("plant") is None
    assert list(home.work.iterdir()) == []


@pytest.fixture
def at_home(home, monkeypatch):
    for name, value in (("HOME", home.root), ("PROJECT", home.project), ("CONFIGS", home.configs)):
        monkeypatch.setenv(f"OFFBEAT_{name}", str(value))
    yield
    structlog.reset_defaults()  # the command line logs to a stderr that is the test's own


@pytest.mark.usefixtures("tuned", "at_home")
def test_asked_again_it_shows_what_it_found_and_writes_it_to_a_new_file(tmp_path):
    out = tmp_path / "better.yaml"
    shown = RUN(cli.app, ["tune", "plant", "--trials", "2", "--out", str(out)])
    assert shown.exit_code == 0, shown.output
    assert "injected fault" in shown.output
    assert "level shift" in shown.output
    written = out.read_text()
    assert written in shown.output
    assert set(yaml.safe_load(written)) == {"window", "model"}
    again = RUN(cli.app, ["tune", "plant", "--trials", "2", "--out", str(out)])
    assert "is not overwritten" in str(again.exception)
    assert out.read_text() == written
    told = json.loads(RUN(cli.app, ["tune", "plant", "--trials", "2", "--json"]).stdout)
    assert told["trials"] == 2
    assert told["yaml"] == written


@pytest.mark.usefixtures("at_home")
def test_an_option_that_means_nothing_is_told_at_once():
    shown = RUN(cli.app, ["tune", "plant", "--timeout", "soon"])
    assert "--timeout: 'soon'" in str(shown.exception)


@pytest.mark.parametrize(
    ("minutes", "words"), [(0, "offbeat ingest plant"), (90, "too short to put faults into")]
)
def test_too_little_history_is_told_in_plain_words(tmp_path, minutes, words):
    home = kit.project(tmp_path, plant=PLANT)
    kit.feed(home, "short.csv", kit.plant(0, minutes))
    work = Offbeat.open(home)
    work.ingest("plant")
    with pytest.raises(NotEnoughData, match=words):
        work.tune("plant", trials=2)
