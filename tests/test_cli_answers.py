"""What people say on the command line: feedback, missed faults, maintenance, and labels that come of it."""

from __future__ import annotations

import json
from datetime import timedelta

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline import cli, clock
from pipeline.errors import DataError
from pipeline.events import Context, Contribution, Event
from pipeline.steps import Offbeat
from pipeline.store import anomalies
from tests.steps import kit


@pytest.fixture
def plant(tmp_path, monkeypatch):
    home = kit.project(tmp_path, plant=kit.PLANT)
    for name, value in (("HOME", home.root), ("PROJECT", home.project), ("CONFIGS", home.configs)):
        monkeypatch.setenv(f"OFFBEAT_{name}", str(value))
    monkeypatch.setenv("USER", "ann")
    work = Offbeat.open(home)
    part = Contribution("flow", 1.0, 100.0, 20.0)
    found = [Event(e, *kit.FAULT, kit.FAULT[0], 3.0, "high", (part,), False) for e in "ab"]
    anomalies.record(
        work.database, "plant", found, now=clock.now(), receivers=["log"],
        context=Context(merge=timedelta(minutes=10), version=2),
    )  # fmt: skip
    return work


def run(*arguments):
    shown = CliRunner().invoke(cli.app, [str(each) for each in arguments])
    if shown.exception and not isinstance(shown.exception, SystemExit):
        raise shown.exception
    assert shown.exit_code == 0, shown.output
    return shown.stdout


def test_an_answer_is_given_and_shown(plant):
    (name, other) = [each["id"] for each in plant.anomalies("plant")]
    told = json.loads(run("feedback", name, "false-alarm", "--why", "cleaning", "--json"))
    assert (told["verdict"], told["answered_by"]) == ("false_alarm", "ann")
    until = (clock.now() + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%S")
    run("feedback", other, "snoozed", "--until", until, "--who", "Bob")
    shown = run("anomalies")
    assert f"{name}" in shown
    assert "false alarm, says ann" in shown
    assert f"snoozed until {until[:16]}Z, says Bob" in shown


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["feedback"], "say which anomaly"),
        (["feedback", "x"], "say which anomaly"),
        (["feedback", "x", "fine"], "'fine' is no answer"),
        (["feedback", "--export", "x.parquet"], "--export takes --stream"),
    ],
)
def test_what_is_no_answer_is_refused(plant, arguments, expected):
    with pytest.raises(DataError, match=expected):
        run(*arguments)


def test_what_people_said_is_written_as_labels(plant, tmp_path):
    for each in plant.anomalies("plant"):
        run("feedback", each["id"], {"a": "false-alarm", "b": "confirmed"}[each["entity"]])
        run("feedback", each["id"], "resolved", "--who", "Bob")
    run(
        "missed", "plant", "a", "--from", "2026-03-02T10:00:00", "--to", "2026-03-02T11:00:00", "--who", "Bob"
    )
    file = tmp_path / "labels.parquet"
    assert json.loads(run("feedback", "--export", file, "--stream", "plant", "--json"))["labels"] == 3
    rows = pq.read_table(file).to_pylist()
    assert [(row["entity"], row["label"], row["who"]) for row in rows] == [
        ("a", 1, "Bob"), ("a", 0, "ann"), ("b", 1, "ann"),
    ]  # fmt: skip
    assert rows[2]["start"] == kit.FAULT[0]
    assert rows[2]["end"] == kit.FAULT[1] + kit.MINUTE, "the row that was flagged last is part of it"


def test_maintenance_is_added_listed_and_cancelled(plant):
    span = ("--from", "2027-03-01T10:00:00", "--to", "2027-03-01T12:00:00")
    window = json.loads(run("maintenance", "add", "plant", "a", "b*", *span, "--why", "oil", "--json"))
    assert "2027-03-01T10:00Z to 2027-03-01T12:00Z  a b*  ann: oil" in run("maintenance", "list", "plant")
    run("maintenance", "cancel", window["id"], "--who", "Bob")
    assert "cancelled by Bob" in run("maintenance", "list", "plant")
