"""People answer: what they say stands until it is taken back, and is told to whom the alert was."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from pipeline.errors import DataError
from pipeline.events import ANSWERS, Anomaly, Answer
from pipeline.store import anomalies, answers, maintenance
from pipeline.store.database import outbox, reading


@pytest.fixture
def record(record):
    return lambda *events, now=5, **more: record(*events, now=now, **more)


@pytest.fixture
def say(engine, at):
    def run(what, *, who="Ann", now=700.0, until=None, heard=None, nonce="", receivers=("late",)):
        (old,) = anomalies.list_anomalies(engine)
        said = Answer(what, who, at(now), "because", until)
        return anomalies.answer(
            engine, old.id, said, heard=at(now if heard is None else heard), receivers=receivers, nonce=nonce
        )

    return run


def only(engine):
    (found,) = anomalies.list_anomalies(engine)
    return found


def alerts(engine):
    with reading(engine) as connection:
        query = sa.select(outbox.c.key).order_by(outbox.c.created_at, outbox.c.key)
        return [key.split("-", 1)[1] for key in connection.execute(query).scalars()]


def said(engine):
    return [(one.what, one.who) for one in answers.history(engine, only(engine).id)]


@pytest.mark.parametrize("what", ["acknowledged", "confirmed", "snoozed"])
def test_an_answer_that_does_not_close_leaves_detection_alone(engine, record, event, say, at, what):
    record(event(0, 5, goes_on=True))
    until = at(760) if what == "snoozed" else None
    found, news = say(what, until=until)
    assert (news, found.status, alerts(engine)) == (True, "open", ["firing"])
    assert (found.answer, found.answered_by, found.answered_at) == (what, "Ann", at(700))
    assert found.taken(at(759))
    assert found.taken(at(761)) == (what != "snoozed")
    assert found == only(engine)
    record(event(0, 30), now=800)
    assert only(engine).answer == what, "it is over, and what was said of it stays"
    assert alerts(engine) == ["firing", "resolved"]


@pytest.mark.parametrize("what", ["resolved", "false_alarm"])
def test_a_closing_answer_closes_and_resolves_once(engine, record, event, say, at, what):
    record(event(0, 5, goes_on=True))
    found, _ = say(what)
    assert (found.status, found.ending, found.closed_at) == ("closed", what, at(700))
    assert say(what, now=710) == (only(engine), False)
    assert alerts(engine) == ["firing", "resolved"]
    assert said(engine) == [(what, "Ann")]


def test_what_is_resolved_opens_again_only_if_flagged_after_the_answer(engine, record, event, say, at):
    record(event(0, 5, goes_on=True))
    say("resolved", now=30)
    record(event(0, 25, goes_on=True), now=40)
    assert only(engine).status == "closed", "those rows are of before the answer, scored late"
    record(event(0, 45, goes_on=True), now=50)
    again = only(engine)
    assert (again.status, again.episode, again.answer, again.settled) == ("open", 2, "", None)
    assert alerts(engine) == ["firing", "resolved", "firing-2"]
    assert said(engine) == [("resolved", "Ann"), ("reopened", answers.OURSELVES)]


def test_a_false_alarm_opens_again_only_if_it_gets_worse(engine, record, event, say, at):
    record(event(0, 5, goes_on=True, severity="medium"))
    say("false_alarm", now=30)
    record(event(0, 90, goes_on=True, severity="medium"), now=90)
    assert (only(engine).status, only(engine).end) == ("closed", at(90))
    record(event(0, 95, goes_on=True, severity="critical", peak_score=9.0), now=95)
    again = only(engine)
    assert (again.status, again.verdict, alerts(engine)[-1]) == ("open", "", "firing-2")


def test_a_snooze_outlasts_an_end(engine, record, event, say, at):
    record(event(0, 5, goes_on=True))
    say("snoozed", now=6, until=at(120))
    record(event(0, 7), now=10)
    record(event(0, 9, goes_on=True), now=11)
    assert (only(engine).answer, only(engine).episode) == ("snoozed", 2)


def test_an_acknowledgement_speaks_of_one_episode(engine, record, event, say):
    record(event(0, 5, goes_on=True))
    say("acknowledged", now=6)
    record(event(0, 7), now=10)
    record(event(0, 9, goes_on=True), now=11)
    assert only(engine).answer == ""
    assert said(engine)[-1] == ("reopened", answers.OURSELVES)


def test_reopened_takes_the_standing_answer_back(engine, record, event, say):
    record(event(0, 5, goes_on=True))
    say("confirmed", now=6)
    say("resolved", now=7)
    found, _ = say("reopened", now=8)
    assert (found.status, found.episode, found.answer, found.verdict) == ("open", 2, "", "confirmed")
    assert alerts(engine) == ["firing", "resolved", "firing-2"]
    say("false_alarm", now=9)
    assert only(engine).verdict == "false_alarm"
    say("reopened", now=10)
    assert (only(engine).verdict, only(engine).episode) == ("", 3)
    assert [what for what, _ in said(engine)] == [
        "confirmed", "resolved", "reopened", "false_alarm", "reopened",
    ]  # fmt: skip


def test_what_detection_ended_stays_ended_when_an_answer_is_taken_back(engine, record, event, say):
    record(event(0, 5))
    say("false_alarm")
    found, _ = say("reopened", now=710)
    assert (found.status, found.answer, alerts(engine)) == ("closed", "", ["firing", "resolved"])


def test_an_answer_to_what_nobody_was_told_of_tells_nobody(engine, record, event, say):
    record(event(0, 5, goes_on=True), silent=True)
    say("resolved")
    say("reopened", now=710)
    assert (only(engine).status, only(engine).episode, alerts(engine)) == ("open", 1, [])


def test_the_same_again_after_something_else_is_said_again(engine, record, event, say):
    record(event(0, 5, goes_on=True))
    for who in ("Ann", "Ann", "Bob", "Ann"):
        say("acknowledged", who=who)
    assert [who for _, who in said(engine)] == ["Ann", "Bob", "Ann"]


def test_a_link_is_used_once_and_only_with_its_answer(engine, record, event, say):
    record(event(0, 5, goes_on=True))
    with pytest.raises(DataError, match="no anomaly 'x'"):
        anomalies.answer(
            engine, "x", Answer("resolved", "Ann", only(engine).start), heard=only(engine).start,
            receivers=(), nonce="n",
        )  # fmt: skip
    assert not answers.spent(engine, "n"), "the answer failed, so the link is as good as new"
    say("acknowledged", nonce="n")
    assert answers.spent(engine, "n")
    with pytest.raises(DataError, match="used already"):
        say("resolved", nonce="n")
    assert only(engine).answer == "acknowledged"


def test_an_anomaly_of_before_answers_can_still_be_read(engine, record, event):
    record(event(0, 5, goes_on=True))
    now = only(engine)
    new = ("answer", "answered_by", "answered_at", "snoozed_until", "verdict", "settled", "maintenance")
    old = {key: value for key, value in now.to_json().items() if key not in new}
    assert Anomaly.from_json(old) == now == Anomaly.from_json(now.to_json())
    assert not now.taken(now.start)


@pytest.fixture
def plan(engine, at):
    def run(start, end, *patterns, now=0.0):
        return maintenance.add(
            engine, "pumps", patterns or ("*",), at(start), at(end), who="Ann", why="oil", now=at(now)
        )

    return run


def test_what_begins_in_maintenance_is_recorded_silently_and_marked(engine, record, event, plan):
    window = plan(0, 60, "pump-7", "fan-*")
    record(event(10, 20, goes_on=True), event(10, 20, goes_on=True, entity="pump-8"))
    marks = {a.entity: (a.silent, a.maintenance) for a in anomalies.list_anomalies(engine)}
    assert marks == {"pump-7": (True, window.id), "pump-8": (False, "")}
    record(event(10, 30), event(10, 30, entity="pump-8"))
    assert len(alerts(engine)) == 2, "of pump-8"


def test_what_outlasts_its_maintenance_is_told_then(engine, record, event, plan):
    plan(0, 60)
    record(event(10, 59, goes_on=True))
    record(event(10, 59, goes_on=True), now=601)
    assert alerts(engine) == []
    record(event(10, 60, goes_on=True))
    record(event(10, 60, goes_on=True), now=601)
    assert alerts(engine) == ["firing"]
    record(event(10, 70))
    assert alerts(engine) == ["firing", "resolved"]


def test_windows_that_follow_one_another_are_one(engine, record, event, plan):
    plan(0, 60)
    plan(60, 90, "pump-*")
    record(event(10, 80, goes_on=True))
    assert alerts(engine) == []


def test_what_began_before_maintenance_is_told_and_resolved(engine, record, event, plan):
    record(event(-20, 5, goes_on=True))
    plan(0, 60)
    record(event(-20, 30))
    assert alerts(engine) == ["firing", "resolved"]


def test_a_machine_switched_off_for_maintenance_is_not_silent(engine, record, event, plan):
    plan(60, 120)
    quiet = {"kind": "silence", "usual": timedelta(minutes=15)}
    record(event(46, 90, goes_on=True, **quiet))
    assert alerts(engine) == []
    record(event(30, 90, goes_on=True, entity="pump-8", **quiet))
    assert alerts(engine) == ["firing"], "that one fell silent long before"


def test_a_cancelled_window_silences_nothing_from_then_on(engine, record, event, plan, at):
    window = plan(0, 60)
    record(event(10, 20, goes_on=True))
    for _ in range(2):
        gone = maintenance.cancel(engine, window.id, who="Bob", now=at(15))
        assert (gone.cancelled_by, gone.over) == ("Bob", at(15))
    record(event(10, 20, goes_on=True), event(30, 31, entity="pump-8"))
    assert sorted(alerts(engine)) == ["firing", "firing", "resolved"]
    with pytest.raises(DataError, match="no maintenance window 'x'"):
        maintenance.cancel(engine, "x", who="Bob", now=at(15))


def test_the_same_window_twice_is_one(engine, plan):
    assert plan(0, 60) == plan(0, 60, now=9)
    assert len(maintenance.windows(engine, "pumps")) == 1


def test_a_missed_fault_said_twice_is_noted_once(engine, at):
    told = [
        answers.add_missed(
            engine, "pumps", "a", at(0), at(5), {"who": "Ann", "why": why, "at": at(9), "version": 1}
        )
        for why in ("it leaked", "again")
    ]
    assert told[0] == told[1] == answers.all_missed(engine, "pumps")[0]


def test_every_answer_fits_its_column():
    assert max(map(len, ANSWERS)) <= 16
