"""Leases hold one owner at a time, also when it dies; cursors keep what they were given."""

from __future__ import annotations

import threading
from datetime import timedelta

from pipeline.store.leases import acquire, cursor, holder, release, set_cursor

MINUTE = timedelta(minutes=1)


def test_one_owner_at_a_time(engine, at):
    assert acquire(engine, "score.pumps", "a", now=at(0), duration=MINUTE)
    assert not acquire(engine, "score.pumps", "b", now=at(0.9), duration=MINUTE)
    assert acquire(engine, "score.cards", "b", now=at(0.9), duration=MINUTE)
    assert holder(engine, "score.pumps", now=at(0.9)) == "a"


def test_a_dead_owners_lease_runs_out(engine, at):
    acquire(engine, "x", "dead", now=at(0), duration=MINUTE)
    assert holder(engine, "x", now=at(1)) is None
    assert acquire(engine, "x", "heir", now=at(1), duration=MINUTE)
    assert not acquire(engine, "x", "dead", now=at(1), duration=MINUTE)


def test_an_owner_renews_its_own(engine, at):
    acquire(engine, "x", "a", now=at(0), duration=MINUTE)
    assert acquire(engine, "x", "a", now=at(0.5), duration=MINUTE)
    assert not acquire(engine, "x", "b", now=at(1.2), duration=MINUTE)


def test_only_the_owner_gives_it_back(engine, at):
    acquire(engine, "x", "a", now=at(0), duration=MINUTE)
    release(engine, "x", "b")
    assert holder(engine, "x", now=at(0)) == "a"
    release(engine, "x", "a")
    assert acquire(engine, "x", "b", now=at(0), duration=MINUTE)


def test_of_many_who_ask_at_once_one_gets_it(engine, at):
    won, together = [], threading.Barrier(8)

    def ask(name: str) -> None:
        together.wait()
        if acquire(engine, "x", name, now=at(0), duration=MINUTE):
            won.append(name)

    threads = [threading.Thread(target=ask, args=(f"o{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert holder(engine, "x", now=at(0)) == won[0]


def test_cursors_are_kept_by_stream_and_name(engine):
    assert cursor(engine, "pumps", "flag") == {}
    set_cursor(engine, "pumps", "flag", {"until": "2026-03-01", "n": [1, None]})
    set_cursor(engine, "cards", "flag", {"n": 2})
    set_cursor(engine, "cards", "flag", {"n": 3})
    assert cursor(engine, "pumps", "flag") == {"until": "2026-03-01", "n": [1, None]}
    assert cursor(engine, "cards", "flag") == {"n": 3}
    assert cursor(engine, "cards", "score") == {}
