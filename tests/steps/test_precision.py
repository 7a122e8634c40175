"""How many alerts were right, by version; and an alert when far fewer are than before."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from pipeline import clock
from pipeline.events import Context, Contribution, Event
from pipeline.steps import Offbeat, metrics
from pipeline.steps.feedback import Figures, figures, of_stream
from pipeline.store import anomalies
from pipeline.store.database import outbox, reading
from tests.steps import kit

HOUR = timedelta(hours=1)


@pytest.fixture
def work(tmp_path):
    with clock.frozen(kit.START):
        yield Offbeat.open(kit.project(tmp_path, plant=kit.PLANT))


def alert(work, number, verdict, *, version=1, entity="a", kind="reconstruction"):
    """Find something in hour `number`, and have somebody say what it was."""
    at = kit.START + number * HOUR
    part = Contribution("flow", 1.0, 100.0, 20.0)
    found = Event(entity, at, at + kit.MINUTE, at, 3.0, "high", (part,), False, kind=kind)
    context = Context(merge=timedelta(minutes=10), version=version)
    with clock.frozen(at + HOUR):
        done = anomalies.record(
            work.database, "plant", [found], now=clock.now(), receivers=["log"], context=context
        )  # fmt: skip
        for each in done.opened if verdict else ():
            work.answer(each, verdict, who="Ann")


def dropped(work):
    return [a for a in work.anomalies("plant", limit=200) if a["kind"] == "precision"]


def test_a_drop_in_precision_is_one_alert_and_its_end_another(work):
    for number in range(20):
        alert(work, number, "confirmed")
    for number in range(20, 30):
        alert(work, number, "false_alarm")
    assert dropped(work) == [], "half of the last twenty are still right"
    for number in range(30, 40):
        alert(work, number, "false_alarm")
    (found,) = dropped(work)
    assert found["status"] == "open"
    assert "share of alerts that were right 0, expected 1" in found["line"]
    for number in range(40, 60):
        alert(work, number, "confirmed")
    (found,) = dropped(work)
    assert (found["status"], found["ending"], found["episode"]) == ("closed", "regained", 1)
    with reading(work.database) as connection:
        events = connection.execute(sa.select(outbox.c.event).where(outbox.c.anomaly == found["id"]))
        assert sorted(events.scalars()) == ["firing", "resolved"]


def test_few_answers_say_nothing(work):
    for number in range(39):
        alert(work, number, "confirmed" if number < 19 else "false_alarm")
    assert dropped(work) == []


def test_figures_are_of_the_version_that_found_it_and_of_the_model_alone(work):
    for number, (verdict, version) in enumerate(
        [("confirmed", 1), ("confirmed", 2), ("false_alarm", 2), ("", 2)]
    ):
        alert(work, number, verdict, version=version)
    alert(work, 9, "false_alarm", version=None, kind="silence")
    assert figures(work, "plant") == {1: Figures(1, 0, 0), 2: Figures(1, 1, 0)}
    assert (Figures(1, 3, 1).precision, Figures(1, 3, 1).recall) == (0.25, 0.5)
    assert (Figures().precision, Figures().recall) == (None, None)


def test_what_was_said_becomes_stretches_of_the_history(work):
    alert(work, 10, "confirmed", entity="b[1]")
    alert(work, 20, "false_alarm")
    alert(work, 30, "false_alarm", kind="silence")
    alert(work, 40, "")
    with clock.frozen(kit.START):
        work.missed("plant", "a", kit.START + 50 * HOUR, kit.START + 51 * HOUR, who="Ann")
        work.maintenance("plant", ["a", "b*"], kit.START + 60 * HOUR, kit.START + 61 * HOUR, who="Ann")
        gone = work.maintenance("plant", ["a"], kit.START + 70 * HOUR, kit.START + 71 * HOUR, who="Ann")
        work.cancel_maintenance(gone["id"], "Ann")
    said = of_stream(work, work.stream("plant"), kit.START, kit.START + 100 * HOUR)

    def shown(stretches):
        hour = HOUR // timedelta(microseconds=1)
        begin = int(kit.START.timestamp()) * 1_000_000
        return [(s.entities, (s.start - begin) / hour, (s.end - begin) / hour, s.why) for s in stretches]

    minute = 1 / 60
    named = {(name, why) for name, _, _, why in shown(said.masked)}
    assert named == {("b[[]1]", "confirmed"), ("a", "missed"), ("a", "maintenance"), ("b*", "maintenance")}
    (fault,) = (s for s in shown(said.masked) if s[3] == "confirmed")
    assert fault[1:3] == pytest.approx((10 - 16 * minute, 10 + 2 * minute)), "from one window before it"
    (harmless,) = shown(said.normal)
    assert harmless[1:3] == pytest.approx((20, 20 + 2 * minute)), "the last flagged row is part of it"
    assert of_stream(work, work.stream("plant"), kit.START, kit.START + 5 * HOUR).mark == ""


def test_status_and_metrics_say_what_people_said_by_version(home):
    work = Offbeat.open(home)
    assert work.status()[0]["alerts_right"] is None
    alert(work, 10, "confirmed")
    alert(work, 20, "false_alarm")
    alert(work, 30, "false_alarm", version=2)
    work.missed("plant", "a", kit.START, kit.START + HOUR, who="Ann")
    assert work.status()[0]["alerts_right"] == "1/2", "of the champion"
    text = metrics.text(lambda: Offbeat.open(home))
    found = {
        (sample.labels["version"], sample.labels["answer"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "offbeat_answers_total"
    }
    assert found == {
        ("1", "confirmed"): 1, ("1", "false_alarm"): 1, ("2", "false_alarm"): 1, ("", "missed"): 1,
    }  # fmt: skip
