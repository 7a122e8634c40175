"""The command line: teaches, speaks JSON to machines, and ends with codes that mean something."""

import json

import pytest
from typer.testing import CliRunner

from pipeline import cli
from tests.steps import kit

run = CliRunner().invoke


@pytest.fixture
def home(tmp_path, monkeypatch):
    made = kit.project(tmp_path, plant=kit.PLANT)
    kit.feed(made, "one.csv", [*kit.plant(0, 30), ["2026-03-01T00:40:00Z", "a", "lots", "1"]])
    for name, value in (("HOME", made.root), ("PROJECT", made.project), ("CONFIGS", made.configs)):
        monkeypatch.setenv(f"OFFBEAT_{name}", str(value))
    return made


def main(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["offbeat", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


@pytest.mark.parametrize(
    "verb",
    ["check", "ingest", "run", "train", "tune", "score", "watch", "deliver", "status", "rejects", "demo"],
)
def test_every_verb_teaches_itself(verb):
    shown = run(cli.app, [verb, "--help"])
    assert shown.exit_code == 0
    assert len(shown.output) > 200


def test_check_says_file_line_and_key_and_ends_with_three(home):
    (home.configs / "streams" / "bad.yaml").write_text(kit.PLANT.replace("merge: 10m", "mergee: 10m"))
    shown = run(cli.app, ["check", "--json"])
    assert shown.exit_code == 3
    told = json.loads(shown.stdout)
    assert told["streams"] == ["plant"]
    assert "bad.yaml:9" in told["errors"][0]
    assert "mergee" in told["errors"][0]
    assert "merge" in told["errors"][0]


def test_ingest_answers_machines_in_json(home):
    told = json.loads(run(cli.app, ["ingest", "plant", "--json"]).stdout)
    assert (told["received"], told["stored"], told["rejected"]) == (61, 60, 1)
    listed = json.loads(run(cli.app, ["rejects", "list", "plant", "--json"]).stdout)
    assert "lots" in listed[0]["reason"]
    assert listed[0]["line"] == 62
    status = json.loads(run(cli.app, ["status", "--json"]).stdout)
    assert status[0]["stored"] == 60


def test_anomalies_say_what_found_them(home):
    run(cli.app, ["ingest", "plant"])
    assert json.loads(run(cli.app, ["watch", "plant", "--json"]).stdout)["opened"] == 0
    kit.feed(home, "two.csv", [row for row in kit.plant(30, 60) if row[1] == "a"])
    run(cli.app, ["ingest", "plant"])
    assert json.loads(run(cli.app, ["watch", "plant", "--json"]).stdout)["opened"] == 1
    shown = run(cli.app, ["anomalies", "plant"]).stdout
    assert shown.split()[:3] == ["high", "open", "silence"]
    assert "b has sent nothing" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("ingest", "plnt"), 3, "did you mean plant?"),
        (("score", "plant"), 5, "offbeat train plant"),
        (("train", "plant"), 4, "offbeat ingest plant"),
    ],
)
def test_an_error_is_one_line_that_says_what_to_do(home, monkeypatch, capfd, arguments, code, words):
    assert main(monkeypatch, *arguments) == code
    told = capfd.readouterr().err
    assert words in told
    assert "Traceback" not in told


def test_the_command_line_starts_without_tensorflow_mlflow_or_airflow():
    import subprocess
    import sys

    heavy = "('tensorflow', 'keras', 'mlflow', 'airflow')"
    code = f"import pipeline.cli, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
