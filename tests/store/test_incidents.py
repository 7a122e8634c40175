"""What is decided on and what comes of it are one transaction, on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa

from pipeline.alerts.notify import decide
from pipeline.alerts.routing import Routes
from pipeline.config.receivers import Alerts, LogReceiver
from pipeline.config.routes import Group, Route
from pipeline.store import incidents
from pipeline.store.database import deliveries, outbox, reading
from pipeline.store.outbox import Outbox

ALERTS = Alerts(
    receivers={"ops": LogReceiver(type="log")},
    routes=(Route(to=("ops",), group=Group(by=("stream",), wait=timedelta(0)), repeat=timedelta(hours=1)),),
)


@pytest.fixture
def settle(engine, at):
    def run(now, judge=decide):
        routes = Routes(ALERTS, {})
        told = incidents.settle(
            engine, lambda ledger: judge(ledger, routes, at(now)), now=at(now), limits={}, mutes=True
        )
        return [key.split("-", 1)[1] for key in told.alerts]

    return run


def test_an_incident_is_told_and_ended_once(engine, record, event, settle, at):
    record(event(0, 5, goes_on=True), event(0, 5, goes_on=True, entity="pump-8"), now=5, receivers=())
    assert settle(6) == ["firing"]
    assert settle(6) == settle(7) == []
    assert settle(67) == ["repeat-1"]
    record(event(0, 70), event(0, 70, entity="pump-8"), now=70, receivers=())
    assert settle(80) == ["resolved"]
    assert settle(99) == []
    (payload,) = {str(c.payload["incident"]["count"]) for c in Outbox(engine).claim(
        "ops", now=at(99), limit=1, lease=timedelta(1))}  # fmt: skip
    assert payload == "2"


def test_what_changes_while_it_is_decided_on_is_decided_on_again(engine, record, event, settle):
    record(event(0, 5, goes_on=True), now=5, receivers=())
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite lets nobody write meanwhile")

    def slow(ledger, routes, moment):
        found = decide(ledger, routes, moment)
        other = threading.Thread(
            target=record, args=(event(0, 8, entity="pump-7"),), kwargs={"now": 8, "receivers": ()}
        )
        other.start()
        other.join()
        return found

    assert settle(6, slow) == ["firing"]
    assert settle(99) == ["resolved"]


def test_many_who_decide_at_once_tell_once(engine, record, event, settle):
    record(*(event(0, 5, goes_on=True, entity=f"pump-{i}") for i in range(30)), now=5, receivers=())
    together = threading.Barrier(5)

    def run() -> None:
        together.wait()
        settle(6)

    threads = [threading.Thread(target=run) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(engine) as connection:
        count = sa.select(sa.func.count())
        assert connection.execute(count.select_from(outbox)).scalar_one() == 1
        assert connection.execute(count.select_from(deliveries)).scalar_one() == 1
