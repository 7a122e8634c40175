"""Anomalies: one id however often seen, one alert when it opens, one when it ends, none in backfills."""

from __future__ import annotations

import threading
from datetime import timedelta

import numpy as np
import pytest
import sqlalchemy as sa

from pipeline.events import Anomaly, Context, Contribution
from pipeline.store import anomalies
from pipeline.store.database import outbox, reading
from pipeline.store.leases import cursor
from pipeline.store.outbox import Outbox


def listed(engine, **query):
    return anomalies.list_anomalies(engine, **query)


def alerts(engine):
    with reading(engine) as connection:
        query = sa.select(outbox.c.key).order_by(outbox.c.created_at, outbox.c.key)
        return [key.split("-", 1)[1] for key in connection.execute(query).scalars()]


def everything(engine):
    with reading(engine) as connection:
        tables = ("anomalies", "outbox", "deliveries", "cursors")
        return [connection.execute(sa.text(f"select * from {t} order by 1, 2")).all() for t in tables]


def test_recording_twice_changes_nothing(engine, record, event):
    seen = (event(0, 5), event(20, 30, goes_on=True), event(0, 30, goes_on=True, entity="pump-8"))
    first = record(*seen, cursor=("flag", {"until": 30}))
    before = everything(engine)
    again = record(*seen, now=999, cursor=("flag", {"until": 30}))
    none = dict.fromkeys(("opened", "continued", "closed", "revised", "unchanged", "alerts"), 0)
    assert first.counts() == none | {"opened": 3, "closed": 1, "alerts": 4}
    assert again.counts() == none | {"unchanged": 3}
    assert everything(engine) == before


def test_what_goes_on_in_the_next_run_is_the_same_anomaly(engine, record, event, at):
    opened = record(event(0, 5, goes_on=True)).opened
    assert record(event(3, 12, goes_on=True, peak_score=4.0, severity="critical")).continued == opened
    assert record(event(17, 20, goes_on=True)).continued == opened, "touches within merge"
    (found,) = listed(engine)
    assert (found.start, found.end, found.status) == (at(0), at(20), "open")
    assert (found.peak_score, found.severity, found.peak) == (4.0, "critical", at(3))
    assert alerts(engine) == ["firing"]


def test_what_comes_later_than_merge_is_another(engine, record, event):
    record(event(0, 5), event(10.1, 12))
    assert len(listed(engine)) == 2
    assert len({a.id for a in listed(engine)}) == 2


def test_other_entities_and_streams_are_others(engine, record, event):
    record(event(0, 5), event(0, 5, entity="pump-8"))
    record(event(0, 5), stream="fans")
    assert len({a.id for a in listed(engine)}) == 3


def test_an_end_resolves_once(engine, record, event, at):
    record(event(0, 5, goes_on=True))
    assert record(event(0, 6), now=700).counts()["closed"] == 1
    assert record(event(0, 6), now=800).counts()["unchanged"] == 1
    assert alerts(engine) == ["firing", "resolved"]
    assert listed(engine)[0].closed_at == at(700)


def test_time_that_goes_on_without_it_closes_it(engine, record, event, at):
    record(event(0, 5, goes_on=True), event(0, 5, goes_on=True, entity="pump-8"))
    assert record(watermark=at(10)).counts()["closed"] == 0, (
        "what comes within merge would still belong to it"
    )
    assert record(watermark={"pump-8": at(10.1)}).counts()["closed"] == 1
    assert [a.entity for a in listed(engine, status="closed")] == ["pump-8"]
    assert record(watermark=at(10.1)).counts()["closed"] == 1
    assert alerts(engine).count("resolved") == 2


def test_opened_and_closed_in_one_run_says_both_and_the_first_knows_the_end(engine, record, event, at):
    assert record(event(0, 5)).counts()["alerts"] == 2
    firing = Outbox(engine).claim("ops", now=at(700), limit=9, lease=timedelta(1))[0]
    assert firing.payload["end"] == at(5).isoformat()
    assert firing.payload["status"] == "closed"


def test_a_backfill_tells_nobody(engine, record, event, at):
    record(event(0, 5), event(20, 25, goes_on=True), silent=True)
    record(silent=True, watermark=at(60))
    assert alerts(engine) == []
    assert [a.status for a in listed(engine)] == ["closed", "closed"]


def test_a_backfill_leaves_alone_what_people_were_told(engine, record, event, at):
    record(event(0, 5, goes_on=True))
    before = everything(engine)
    record(event(0, 90, peak_score=99.0), silent=True, watermark=at(900))
    assert everything(engine) == before
    record(event(0, 5), watermark=at(900))
    assert alerts(engine) == ["firing", "resolved"], "the live run still resolves"


def test_what_a_backfill_found_first_is_told_when_it_goes_on_live(engine, record, event):
    record(event(0, 5, goes_on=True), silent=True)
    record(event(0, 9, goes_on=True))
    record(event(0, 9, goes_on=True))
    assert alerts(engine) == ["firing"]
    assert not listed(engine)[0].silent


def test_what_a_backfill_found_first_is_told_if_live_judges_it_for_the_first_time(engine, record, event, at):
    record(event(0, 5), event(50, 55), silent=True)
    record(event(0, 5), event(50, 55), since=at(40))
    record(event(0, 5), event(50, 55), since=at(40))
    assert alerts(engine) == ["firing", "resolved"]
    assert [a.silent for a in listed(engine)] == [False, True], "the old one stays history"


def test_an_old_run_again_does_not_reopen_what_has_ended(engine, record, event, at):
    record(event(0, 5, goes_on=True))
    record(event(0, 9, goes_on=True))
    record(watermark=at(60))
    assert record(event(0, 5, goes_on=True)).counts()["unchanged"] == 1
    assert record(event(0, 9, goes_on=True)).counts()["unchanged"] == 1
    assert alerts(engine) == ["firing", "resolved"]


def test_late_records_that_undo_an_end_page_again_under_a_new_key(engine, record, event, at):
    record(event(0, 5))
    record(event(8, 20, goes_on=True), now=700)
    record(event(8, 25, goes_on=True), now=700)
    record(watermark=at(60), now=800)
    assert sorted(alerts(engine)) == ["firing", "firing-2", "resolved", "resolved-2"]
    box, order = Outbox(engine), []
    while due := box.claim("ops", now=at(900), limit=1, lease=timedelta(1)):
        order.append(due[0].key.split("-", 1)[1])
        box.delivered(due[0], now=at(900))
    assert order == ["firing", "resolved", "firing-2", "resolved-2"]


def test_an_event_over_two_anomalies_goes_to_the_open_one(engine, record, event, at):
    record(event(0, 5), event(20, 25, goes_on=True))
    record(event(3, 30, goes_on=True))
    assert [(a.start, a.end, a.status) for a in listed(engine)] == [
        (at(3), at(30), "open"),
        (at(0), at(5), "closed"),
    ]
    assert record(event(3, 30, goes_on=True)).counts()["unchanged"] == 1


def test_the_anomaly_is_read_back_as_written(engine, record, event, at):
    card = event(7, 7, entity="4711", ids=("t2", "t1"), peak_score=np.float32(1.5))
    context = Context(
        stream_kind="transaction", noun="card", units={"vibration": "EUR"}, run="r", airflow_run="d/r"
    )
    (key,) = record(card, context=context, stream="cards").opened
    found = anomalies.get(engine, key)
    assert found.channels[0] == Contribution("vibration", 0.8, 2.3, 9.1, "EUR")
    assert (found.ids, found.stream_kind, found.noun, found.airflow_run) == (
        ("t2", "t1"),
        "transaction",
        "card",
        "d/r",
    )
    assert Anomaly.from_json(found.to_json()) == found
    assert anomalies.get(engine, "nothing") is None


def test_listing_filters_and_is_latest_first(engine, record, event, at):
    record(*(event(m, m + 1, goes_on=m == 90) for m in (0, 30, 60, 90)))
    record(event(45, 46, entity="pump-8"))
    assert [a.start for a in listed(engine, entity="pump-7")] == [at(90), at(60), at(30), at(0)]
    assert [a.start for a in listed(engine, limit=2)] == [at(90), at(60)]
    assert [a.start for a in listed(engine, status="open")] == [at(90)]
    assert [a.start for a in listed(engine, since=at(31), until=at(60))] == [at(45), at(30)]
    assert listed(engine, stream="fans") == []


HOSTILE = [
    "'; DROP TABLE anomalies; --",
    'x" OR 1=1',
    "\x00\x01\x1b[31m\r\nSet-Cookie: a=b",
    "<script>alert(1)</script>",
    "\u202eevil",
    "\ud800 lone",
    "",
    "z" * 10_000,
    "".join(chr(c) for c in np.random.default_rng(1).integers(32, 0x2FFF, 10_000)),
    "{entity} %s %(x)s ${env:HOME} {{7*7}}",
    "💥" * 50,
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_are_only_names(engine, record, event, name):
    odd = Contribution(name, 0.5, float("nan"), float("inf"), name)
    record(event(0, 5, goes_on=True, entity=name, channels=(odd,), ids=(name,)))
    record(event(4, 9, entity=name, channels=(odd,), ids=(name,)))
    (found,) = listed(engine, entity=name)
    assert found.status == "closed"
    assert (found.channels[0].expected, found.channels[0].actual) == (None, None)
    assert alerts(engine) == ["firing", "resolved"]


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_no_number_is_stored_as_one(engine, record, event, score):
    record(event(0, 5, peak_score=score))
    assert np.isfinite(listed(engine)[0].peak_score)
    assert record(event(0, 5, peak_score=score)).counts()["unchanged"] == 1


def test_a_cursor_moves_with_what_it_stands_for(engine, record, event):
    with pytest.raises(AttributeError):
        record(event(0, 5), "not an event", cursor=("flag", {"until": 5}))
    assert cursor(engine, "pumps", "flag") == {}
    assert listed(engine) == []
    record(event(0, 5), cursor=("flag", {"until": 5}))
    assert cursor(engine, "pumps", "flag") == {"until": 5}


def test_without_receivers_it_is_recorded_and_nobody_waits(engine, record, event):
    record(event(0, 5), receivers=())
    assert len(listed(engine)) == 1
    assert Outbox(engine).waiting() == {}


def test_a_resolve_goes_to_whoever_was_sent_the_firing(engine, record, event):
    record(event(0, 5, goes_on=True), receivers=("log",))
    record(event(0, 6), receivers=("ops",))
    assert Outbox(engine).waiting() == {"log": 2}


def test_runs_at_once_record_an_anomaly_once(engine, record, event):
    together, opened = threading.Barrier(6), []

    def run() -> None:
        together.wait()
        opened.extend(record(*(event(m, m + 3, goes_on=True) for m in range(0, 100, 20))).opened)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == len(set(opened)) == 5
    assert alerts(engine) == ["firing"] * 5


def test_what_another_watchdog_found_at_the_same_time_is_another_anomaly(engine, record, event, at):
    record(event(0, 5, goes_on=True), event(0, 5, goes_on=True, kind="silence"))
    assert {a.kind for a in listed(engine)} == {"reconstruction", "silence"}
    assert len({a.id for a in listed(engine)}) == 2
    assert record(event(0, 9, goes_on=True, kind="silence")).counts()["continued"] == 1
    assert [a.end for a in listed(engine, kind="silence")] == [at(9)]


def test_time_that_goes_on_ends_only_what_the_run_judges(engine, record, event, at):
    record(event(0, 5, goes_on=True), event(0, 5, goes_on=True, kind="silence"))
    assert record(watermark=at(60)).counts()["closed"] == 1
    assert [a.kind for a in listed(engine, status="open")] == ["silence"]
    record(event(0, 5, goes_on=True, kind="range"))
    assert record(watermark=at(60), judges=("range",)).counts()["closed"] == 1
    assert [a.kind for a in listed(engine, status="open")] == ["silence"]


def test_what_is_said_to_end_ends_and_says_why_until_it_goes_on(engine, record, event, at):
    record(event(0, 5, goes_on=True), event(0, 5, goes_on=True, entity="pump-8"))
    ends = {"ending": lambda old: "silent" if old.entity == "pump-8" else ""}
    assert record(**ends).counts()["closed"] == 1
    assert record(**ends).counts()["closed"] == 0
    (closed,) = listed(engine, status="closed")
    assert (closed.entity, closed.ending, closed.end) == ("pump-8", "silent", at(5))
    record(event(0, 9, goes_on=True, entity="pump-8"), now=700)
    assert [a.ending for a in listed(engine, entity="pump-8")] == [""]
    assert sorted(alerts(engine)) == ["firing", "firing", "firing-2", "resolved"]


def test_what_is_usual_is_kept_with_what_is_not(engine, record, event):
    record(event(0, 5, goes_on=True, kind="silence", usual=timedelta(seconds=60)))
    (found,) = listed(engine)
    assert found.usual == 60
    assert Anomaly.from_json(found.to_json()) == found
