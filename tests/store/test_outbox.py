"""The outbox: leased to one, back after a crash, under the same key, firing before resolved."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa

from pipeline import log
from pipeline.store.database import deliveries, outbox, reading
from pipeline.store.outbox import Outbox

MINUTE = timedelta(minutes=1)


@pytest.fixture
def box(engine):
    return Outbox(engine)


def claim(box, at, receiver="ops", now=600.0, limit=100, lease=MINUTE):
    return box.claim(receiver, now=at(now), limit=limit, lease=lease)


def state(engine, key, receiver="ops"):
    query = sa.select(deliveries).where(deliveries.c.key == key, deliveries.c.receiver == receiver)
    with reading(engine) as connection:
        return connection.execute(query).one()


def test_each_receiver_gets_its_own_delivery(box, record, event, at):
    record(event(0, 5, goes_on=True))
    assert box.waiting() == {"log": 1, "ops": 1}
    mine, theirs = claim(box, at, "ops"), claim(box, at, "log")
    assert mine[0].key == theirs[0].key
    assert mine[0].payload["entity"] == "pump-7"
    assert claim(box, at, "nobody") == []


def test_nobody_else_gets_what_is_leased_until_the_lease_runs_out(box, record, event, at):
    record(event(0, 5, goes_on=True))
    first = claim(box, at)[0]
    assert claim(box, at, now=600.99) == []
    again = claim(box, at, now=601)[0]
    assert (again.key, again.attempts) == (first.key, 0)
    assert again.lease != first.lease


def test_what_was_delivered_is_never_due_again(box, engine, record, event, at):
    record(event(0, 5, goes_on=True))
    sent = claim(box, at)[0]
    box.delivered(sent, now=at(600))
    assert claim(box, at, now=9999) == []
    assert state(engine, sent.key).delivered_at == at(600)
    assert box.waiting() == {"log": 1}


def test_a_success_counts_even_when_the_lease_had_run_out(box, engine, record, event, at):
    record(event(0, 5, goes_on=True))
    slow, _ = claim(box, at)[0], claim(box, at, now=602)[0]
    box.delivered(slow, now=at(603))
    assert state(engine, slow.key).state == "delivered"


def test_a_failure_counts_only_for_whoever_holds_the_lease(box, engine, record, event, at):
    record(event(0, 5, goes_on=True))
    slow, heir = claim(box, at)[0], claim(box, at, now=602)[0]
    box.failed(slow, "late", retry_at=at(0))
    assert not box.dead(slow, "late", now=at(602), tell=["log"])
    assert state(engine, heir.key).lease_owner == heir.lease
    box.failed(heir, "HTTP 500", retry_at=at(700))
    assert claim(box, at, now=699) == []
    assert claim(box, at, now=700)[0].attempts == 1


def test_a_delivered_alert_is_not_made_undelivered_by_a_late_failure(box, engine, record, event, at):
    record(event(0, 5, goes_on=True))
    slow, heir = claim(box, at)[0], claim(box, at, now=602)[0]
    box.delivered(heir, now=at(602))
    box.failed(slow, "late", retry_at=at(0))
    box.dead(slow, "late", now=at(602))
    assert state(engine, heir.key).state == "delivered"


def test_a_resolve_waits_for_its_firing(box, record, event, at):
    record(event(0, 5))
    firing = claim(box, at)
    assert [c.event for c in firing] == ["firing"]
    assert claim(box, at) == []
    box.failed(firing[0], "HTTP 500", retry_at=at(700))
    assert claim(box, at, now=650) == []
    box.delivered(claim(box, at, now=700)[0], now=at(700))
    assert [c.event for c in claim(box, at, now=700)] == ["resolved"]


def test_a_resolve_does_not_wait_for_another_receivers_firing(box, record, event, at):
    record(event(0, 5))
    box.delivered(claim(box, at, "log")[0], now=at(600))
    assert [c.event for c in claim(box, at, "log")] == ["resolved"]


def test_a_resolve_is_sent_although_its_firing_was_given_up(box, record, event, at):
    record(event(0, 5))
    box.dead(claim(box, at)[0], "HTTP 400", now=at(600))
    assert [c.event for c in claim(box, at)] == ["resolved"]


def test_giving_up_tells_the_others_once_and_a_lost_meta_tells_nobody(box, engine, record, event, at):
    record(event(0, 5, goes_on=True))
    lost = claim(box, at)[0]
    assert box.dead(lost, "HTTP 404", now=at(600), tell=["log", "mail", "ops"])
    assert not box.dead(lost, "HTTP 404", now=at(600), tell=["log", "mail", "ops"])
    meta = claim(box, at, "mail")
    assert [(c.event, c.payload["receiver"], c.payload["error"]) for c in meta] == [
        ("meta", "ops", "HTTP 404")
    ]
    assert claim(box, at, "ops") == []
    assert box.dead(meta[0], "HTTP 404", now=at(600), tell=["log", "ops"])
    with reading(engine) as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(outbox)).scalar_one() == 2


def test_a_receiver_that_wants_quiet_gets_it(box, record, event, at):
    record(event(0, 5, goes_on=True), event(100, 105, goes_on=True, entity="pump-8"))
    box.postpone("ops", until=at(700))
    assert claim(box, at, now=699) == []
    assert len(claim(box, at, "log", now=699)) == 2
    assert len(claim(box, at, now=700)) == 2


def test_deliverers_at_once_never_share_a_delivery(box, record, event, at):
    record(*(event(0, 5, goes_on=True, entity=f"pump-{i}") for i in range(60)))
    got, together = [], threading.Barrier(6)

    def work() -> None:
        together.wait()
        while found := claim(box, at, limit=3):
            got.extend(c.key for c in found)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == len(set(got)) == 60


def test_no_secret_is_stored_with_an_error(box, engine, record, event, at):
    log.hide("canary-77aa21")
    record(event(0, 5, goes_on=True))
    failed = claim(box, at)[0]
    box.failed(failed, "no: https://u:pw12345@h/canary-77aa21\x00" + "x" * 9999, retry_at=at(700))
    said = state(engine, failed.key).last_error
    assert "canary" not in said
    assert "pw12345" not in said
    assert len(said) <= 500
