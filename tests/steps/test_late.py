"""Late records re-score what they touch, and the anomalies that change say so; what is too late changes none."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from pipeline.alerts.words import revised
from pipeline.events import Anomaly
from pipeline.home import Home
from pipeline.steps import Offbeat
from tests.steps import kit

FIRST = 2 * kit.DAY
FAULT = int((kit.FAULT[0] - kit.START) / kit.MINUTE)


@pytest.fixture
def patient(home: Home) -> Home:
    """The plant, with an hour of lateness."""
    yaml = home.configs / "streams" / "plant.yaml"
    yaml.write_text(yaml.read_text().replace("lateness: 5m", "lateness: 1h"))
    return home


def rows_of(pump: str, first: int, minutes: int) -> list[list[str]]:
    return [row for row in kit.plant(first, minutes) if row[1] == pump]


def broken(rows: list[list[str]]) -> list[list[str]]:
    """Return the same readings with no flow."""
    return [[when, pump, "20.000", power] for when, pump, _, power in rows]


def alerts(home: Home) -> list[dict[str, Any]]:
    Offbeat.open(home).deliver()
    path = home.alerts / "plant.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def only(home: Home) -> dict[str, Any]:
    [found] = Offbeat.open(home).anomalies("plant")
    return dict(found)


def settled(home: Home) -> None:
    """Running it again changes nothing."""
    before = kit.scores(home), Offbeat.open(home).anomalies("plant")
    again = kit.judge_all(home)
    assert not any(again[what] for what in ("opened", "continued", "closed", "revised", "alerts"))
    assert (kit.scores(home), Offbeat.open(home).anomalies("plant")) == before


def test_late_records_in_the_middle_of_an_anomaly_change_it_and_it_says_so(patient: Home) -> None:
    rows = rows_of("b", FIRST, 345)
    kit.feed(patient, "one.csv", rows[:300] + rows[330:])  # the fault's first half is late
    kit.judge_all(patient)
    before = only(patient)
    assert (before["status"], before["revised"], before["revision"]) == ("open", None, "")
    kit.feed(patient, "two.csv", rows[300:330])
    assert kit.judge_all(patient)["revised"] == 1
    after = only(patient)
    assert after["id"] == before["id"]
    assert after["start"] < before["start"]
    facts = ("start", "end", "peak_score", "severity")
    assert {name: after["revised"][name] for name in facts} == {name: before[name] for name in facts}
    assert after["revised"]["why"] == "late"
    assert "revised" in after["revision"]
    assert "late records" in after["revision"]
    assert [each["event"] for each in alerts(patient)] == ["firing"]
    settled(patient)


def gap(home: Home) -> tuple[list[list[str]], list[list[str]]]:
    """Return readings of which some are missing so that what is there looks broken, and those missing."""
    rows = rows_of("a", FIRST, 120)
    jump = broken(rows[60:61])
    return rows[:60] + jump + rows[70:], rows[61:70]


def test_an_anomaly_that_late_records_make_vanish_is_withdrawn_and_those_told_are_told(
    patient: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, missing = gap(patient)
    kit.feed(patient, "one.csv", rows)
    told = kit.judge_all(patient)
    assert told["opened"] == 1
    closed = only(patient)["status"] == "closed"
    before = only(patient)
    kit.feed(patient, "two.csv", missing)
    told = kit.judge_all(patient)
    after = only(patient)
    print(before["start"], before["end"], before["status"], after["start"], after["end"], after["peak_score"], before["peak_score"])
    assert after["ending"] == "withdrawn"
