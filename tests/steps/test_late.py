"""Late records re-score what they touch; anomalies that change say so; what is too late changes none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.home import Home
from pipeline.steps import Offbeat
from tests.steps import kit

FIRST = 2 * kit.DAY


@pytest.fixture
def patient(home: Home) -> Home:
    """The plant, with an hour of lateness."""
    yaml = home.configs / "streams" / "plant.yaml"
    yaml.write_text(yaml.read_text().replace("lateness: 5m", "lateness: 1h"))
    return home


def rows_of(pump: str, first: int, minutes: int) -> list[list[str]]:
    return [row for row in kit.plant(first, minutes) if row[1] == pump]


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


def test_an_anomaly_that_late_records_make_vanish_is_withdrawn(patient: Home) -> None:
    kit.feed(patient, "one.csv", kit.glitch(70))
    kit.judge_all(patient)
    assert only(patient)["status"] == "open"
    kit.feed(patient, "two.csv", kit.MENDED)
    assert kit.judge_all(patient)["revised"] == 1
    after = only(patient)
    assert (after["status"], after["ending"]) == ("closed", "withdrawn")
    assert after["revised"]["start"] == after["start"]
    firing, resolved = alerts(patient)
    assert (firing["event"], resolved["event"]) == ("firing", "resolved")
    assert "late records show that it was none" in resolved["title"]
    settled(patient)


def test_one_whose_end_was_told_is_withdrawn_too(patient: Home) -> None:
    kit.feed(patient, "one.csv", kit.glitch(100))
    kit.judge_all(patient)
    assert only(patient)["status"] == "closed"
    assert [each["event"] for each in alerts(patient)] == ["firing", "resolved"]
    kit.feed(patient, "two.csv", kit.MENDED)
    kit.judge_all(patient)
    assert only(patient)["ending"] == "withdrawn"
    *_, corrected = alerts(patient)
    assert corrected["event"] == "resolved"
    assert corrected["title"].endswith("withdrawn")
    settled(patient)


def test_what_is_too_late_is_stored_and_counted_and_changes_nothing(home: Home) -> None:
    kit.feed(home, "one.csv", kit.glitch(100))
    kit.judge_all(home)
    before = kit.scores(home), Offbeat.open(home).anomalies("plant")
    kit.feed(home, "two.csv", kit.MENDED)
    told = kit.judge_all(home)
    assert (kit.scores(home), Offbeat.open(home).anomalies("plant")) == before
    assert told["revised"] == 0
    [row] = Offbeat.open(home).status()
    assert (row["late"], row["too_late"]) == (len(kit.MENDED), len(kit.MENDED))
    assert row["stored"] == row["received"]


def test_a_machine_that_lags_is_not_late(home: Home) -> None:
    kit.feed(home, "one.csv", rows_of("a", FIRST, 60))
    kit.judge_all(home)
    kit.feed(home, "two.csv", rows_of("b", FIRST, 30))
    kit.judge_all(home)
    assert Offbeat.open(home).status()[0]["late"] == 0
    assert sum(row["entity"] == "b" for row in kit.scores(home)) > 20
