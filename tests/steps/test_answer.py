"""People answer, through the steps: by name or by a signed link, of what is there, in words that are kept."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from pipeline import clock
from pipeline.alerts.links import offers
from pipeline.errors import ConfigError, DataError
from pipeline.events import Context, Contribution, Event
from pipeline.steps import Offbeat
from pipeline.store import anomalies
from tests.steps import kit

NOW = kit.FAULT[1] + timedelta(minutes=1)


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A plant with an open anomaly of pump b, and links."""
    monkeypatch.setenv("OFFBEAT_LINK_SECRET", "0123456789abcdef")
    home = kit.project(tmp_path, plant=kit.PLANT)
    links = "links: {page: 'https://offbeat.example', secret: '${env:OFFBEAT_LINK_SECRET}'}\n"
    (home.configs / "alerts.yaml").write_text(kit.ALERTS + links)
    with clock.frozen(NOW):
        work = Offbeat.open(home)
        see(work, kit.FAULT[1])
        yield work


def see(work, until):
    fault = Event(
        "b", kit.FAULT[0], until, kit.FAULT[0], 3.0, "high", (Contribution("flow", 1.0, 100.0, 20.0),), True
    )
    context = Context(merge=timedelta(minutes=10), version=1)
    anomalies.record(
        work.database, "plant", [fault], now=clock.now(), receivers=["log"], context=context
    )  # fmt: skip


def only(work):
    (found,) = work.anomalies("plant")
    return found


def test_an_answer_is_kept_and_shown(work):
    told = work.answer(only(work)["id"], "snoozed", who="Ann", why="at lunch", until=NOW + timedelta(hours=1))
    assert (told["news"], told["answer"], only(work)["answer"]) == (True, "snoozed", "snoozed")
    (kept,) = work.answers(told["id"])
    assert kept == {
        "what": "snoozed", "who": "Ann", "why": "at lunch", "at": NOW.isoformat(),
        "until": (NOW + timedelta(hours=1)).isoformat(),
    }  # fmt: skip


def test_resolved_by_a_person_reaches_whoever_had_the_alert(work):
    work.deliver()
    work.answer(only(work)["id"], "resolved", who="Ann")
    work.deliver()
    lines = [json.loads(line) for line in (work.home.alerts / "plant.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["firing", "resolved"]
    assert "Ann" in lines[1]["title"]


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"what": "done"}, "'done' is no answer; expected one of acknowledged"),
        ({"who": " "}, "who says so"),
        ({"who": "x" * 201}, "expected at most 200"),
        ({"why": "x" * 2001}, "expected at most 2000"),
        ({"what": "snoozed"}, "a snooze has an end"),
        ({"until": NOW + timedelta(hours=1)}, "no other answer has one"),
        ({"what": "snoozed", "until": NOW}, "expected a time within a year"),
        ({"anomaly": "nope"}, "no anomaly 'nope'"),
    ],
)
def test_what_is_no_answer_is_refused_with_what_was_expected(work, wrong, expected):
    known = {"anomaly": only(work)["id"], "what": "acknowledged", "who": "Ann"} | wrong
    with pytest.raises(DataError, match=expected):
        work.answer(**known)
    assert work.answers(only(work)["id"]) == []


def test_a_replayed_stream_opens_again_by_its_own_time(work):
    """Its rows are old by the clock; what was looked at when somebody answered is what he spoke of."""
    with clock.frozen(NOW + timedelta(days=90)):
        anomalies.record(
            work.database, "plant", (), now=clock.now(), receivers=(), context=Context(),
            cursor=("flag", {"until": kit.FAULT[1].isoformat()}),
        )  # fmt: skip
        work.answer(only(work)["id"], "resolved", who="Ann")
        see(work, kit.FAULT[1] + timedelta(minutes=1))
    assert only(work)["status"] == "open"


def link(work, what):
    key, settings = f"{only(work)['id']}-firing", work.project.alerts.links
    found = offers(only(work)["id"], key, "ops", settings, lambda _: "0123456789abcdef")
    return found[what].rsplit("/", 1)[1]


def test_a_link_answers_once_and_looking_at_it_changes_nothing(work):
    token = link(work, "snoozed")
    for _ in range(2):
        asked = work.asked(token)
        assert (asked["what"], asked["spent"]) == ("snoozed", False)
        assert asked["until"] == (NOW + timedelta(hours=8)).isoformat()
    told = work.redeem(token)
    assert (told["answer"], told["answered_by"]) == ("snoozed", "ops (link)")
    assert work.asked(token)["spent"]
    with pytest.raises(DataError, match="used already"):
        work.redeem(token, who="Ann")
    assert [one["what"] for one in work.answers(told["id"])] == ["snoozed"]


def test_without_a_secret_no_link_answers(work):
    token = link(work, "false_alarm")
    (work.home.configs / "alerts.yaml").write_text(kit.ALERTS)
    with pytest.raises(DataError, match="has no `links"):
        Offbeat.open(work.home).redeem(token)


def test_maintenance_is_planned_listed_and_cancelled(work):
    start, end = NOW + timedelta(hours=1), NOW + timedelta(hours=2)
    window = work.maintenance("plant", ["a", " b*"], start, end.isoformat(), who="Ann", why="oil")
    assert window["entities"] == ("a", "b*")
    assert work.maintenances("plant") == [window]
    assert work.cancel_maintenance(window["id"], "Bob")["cancelled_by"] == "Bob"
    with pytest.raises(DataError, match="the end comes first"):
        work.maintenance("plant", ["a"], end, start, who="Ann")
    with pytest.raises(DataError, match="name the entities"):
        work.maintenance("plant", [" "], start, end, who="Ann")
    with pytest.raises(ConfigError, match="no stream named"):
        work.maintenance("plnt", ["a"], start, end, who="Ann")


def test_a_missed_fault_is_noted_with_the_version_that_missed_it(work):
    told = work.missed("plant", "a", kit.FAULT[0], kit.FAULT[1], who="Ann", why="it leaked")
    assert (told["version"], told["scores"]) == (None, 0)
    with pytest.raises(DataError, match="the end comes first"):
        work.missed("plant", "a", kit.FAULT[1], kit.FAULT[1], who="Ann")
    with pytest.raises(DataError, match="from when to when"):
        work.missed("plant", "a", kit.FAULT[1], None, who="Ann")
