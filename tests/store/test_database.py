"""One SQL database: opened by many at once, times in UTC, writers that wait, errors without passwords."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa

import pipeline
from pipeline.errors import ConfigError, DataError, Unavailable
from pipeline.events import Answer, Context
from pipeline.store import anomalies
from pipeline.store.database import anomalies as anomalies_table
from pipeline.store.database import leases, open_database, reading, schema_version, writing
from pipeline.store.leases import acquire, set_cursor

CANARY = "canary-4f1d8e"


def test_many_processes_open_a_new_database_at_once(url):
    script = Path(__file__).with_name("opening_at_once.py")
    command = [sys.executable, str(script), url, "12"]
    environment = os.environ | {"PYTHONPATH": str(Path(pipeline.__file__).parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr


def test_opening_again_changes_nothing(url):
    set_cursor(open_database(url), "pumps", "flag", {"until": "now"})
    with reading(open_database(url)) as connection:
        assert connection.execute(sa.text("select count(*) from cursors")).scalar_one() == 1


def test_times_come_back_aware_in_utc(engine, at):
    tokyo = timezone(timedelta(hours=9))
    acquire(engine, "x", "me", now=at(0.0000001).astimezone(tokyo), duration=timedelta(microseconds=7))
    with reading(engine) as connection:
        until = connection.execute(sa.select(leases.c.until)).scalar_one()
    assert until == at(0.0000001) + timedelta(microseconds=7)
    assert until.utcoffset() == timedelta(0)


def test_a_time_without_zone_is_refused(engine):
    with pytest.raises(Exception, match="no time zone"):
        acquire(engine, "x", "me", now=datetime(2026, 1, 1), duration=timedelta(1))


def test_a_database_of_a_newer_offbeat_is_refused(url):
    with writing(open_database(url)) as connection:
        connection.execute(sa.update(schema_version).values(version=99))
    with pytest.raises(DataError, match="schema 99"):
        open_database(url)


def test_a_database_of_before_the_first_release_is_refused(url):
    with writing(open_database(url)) as connection:
        connection.execute(sa.update(schema_version).values(version=1))
    with pytest.raises(DataError, match="schema 1, of before the first release"):
        open_database(url)


def test_a_database_of_an_earlier_version_opens_and_keeps_its_rows(url, event, at):
    engine = open_database(url)
    context = Context(merge=timedelta(minutes=5))
    anomalies.record(engine, "pumps", [event(0, 5)], now=at(9), receivers=["log"], context=context)
    before = anomalies.list_anomalies(engine)
    with writing(engine) as connection:
        for name in ("anomalies_undecided", "anomalies_by_end", "deliveries_made"):
            connection.execute(sa.text(f"drop index {name}"))
        for name in (
            "revised",
            "decided",
            "answer",
            "answered_by",
            "answered_at",
            "snoozed_until",
            "verdict",
            "settled",
            "maintenance",
        ):
            connection.execute(sa.text(f"alter table anomalies drop column {name}"))
        for name in ("incident_members", "incidents", "answers", "missed", "maintenances", "spent_links"):
            connection.execute(sa.text(f"drop table {name}"))
        connection.execute(sa.update(schema_version).values(version=2))
    again = open_database(url)
    assert anomalies.list_anomalies(again) == before
    with reading(again) as connection:
        told = connection.execute(sa.select(anomalies_table.c.decided)).scalars().all()
        found = {i["name"] for i in sa.inspect(connection).get_indexes("deliveries")}
    assert told == [True], "what was told before is not told anew by routes that come later"
    assert "deliveries_made" in found
    said = Answer("confirmed", "Ann", at(10))
    assert anomalies.answer(again, before[0].id, said, heard=at(10), receivers=())[1]
    assert anomalies.list_anomalies(open_database(url))[0].verdict == "confirmed"


def test_a_writer_waits_for_the_one_before_it(engine):
    inside, order = threading.Event(), []

    def first() -> None:
        with writing(engine) as connection:
            connection.execute(sa.text("select 1 from cursors")).all()
            inside.set()
            time.sleep(0.3)
            connection.execute(sa.text("delete from leases"))
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait(5)
    set_cursor(engine, "pumps", "flag", {})
    order.append("second")
    thread.join()
    if engine.dialect.name == "sqlite":
        assert order == ["first", "second"]


def test_an_error_inside_a_transaction_undoes_it(engine):
    with pytest.raises(KeyError), writing(engine) as connection:
        connection.execute(sa.text("insert into schema_version values (2, 2)"))
        raise KeyError
    with reading(engine) as connection:
        assert connection.execute(sa.text("select count(*) from schema_version")).scalar_one() == 1


@pytest.mark.parametrize(
    "bad", [f"mysql://u:{CANARY}@h/d", f"nonsense {CANARY}", f"sqlite+pysqlcipher://:{CANARY}@/x", ""]
)
def test_a_database_we_do_not_speak_is_a_config_error_without_the_password(bad):
    with pytest.raises(ConfigError) as caught:
        open_database(bad)
    assert CANARY not in str(caught.value)


def test_a_database_that_does_not_answer_is_transient_and_keeps_the_password():
    with pytest.raises(Unavailable) as caught:
        open_database(f"postgresql://offbeat:{CANARY}@127.0.0.1:1/offbeat?connect_timeout=2")
    assert CANARY not in str(caught.value)


def test_an_unwritable_place_is_transient(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.store.database.BUSY_SECONDS", 0.1)
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(Unavailable):
        open_database(f"sqlite:///{tmp_path}/folder.db")
