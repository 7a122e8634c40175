"""Tables in an object store: what holds on a disk holds there, against a real server.

That a kill loses nothing there is held by `s3` in tests/sources/test_suite.py.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from pipeline.errors import ConfigError, Conflict, Unavailable
from pipeline.home import Home
from pipeline.store.observations import ObservationStore, State, Totals
from pipeline.store.scores import ScoreStore, Written
from tests.services.s3 import S3
from tests.sources.kit import sensor, transactions
from tests.store.ingest_kit import START, bad, keys, payments, put, readings
from tests.store.test_scores import row, table

DAY = timedelta(days=1)


@pytest.fixture
def home(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("OFFBEAT_TABLES", f"s3://{s3.bucket()}/tables/")
    return Home(tmp_path, tmp_path)


def store(home: Home, stream: Any = None) -> ObservationStore:
    stream = stream or sensor(Path())
    return ObservationStore(
        stream, home.table(stream.name, "observations"), home.table(stream.name, "rejects")
    )


def test_each_record_and_each_reject_is_stored_once(home: Home) -> None:
    to = store(home)
    assert (to.state(), to.version(), len(to.read())) == (State(), -1, 0)
    state = put(to, to.state(), readings([("p", s) for s in range(50)]), bad(1, 2, 2))
    state = put(to, state, readings([("p", s) for s in range(40, 60)]), bad(2, 3))
    assert state == store(home).state()
    assert state.totals == Totals(75, 60, 10, 5)
    assert keys(to) == [("p", s) for s in range(60)]
    assert to.rejects()["position"].to_pylist() == [1, 2, 3]
    assert len(to.read(START + timedelta(seconds=10), START + timedelta(seconds=20), entities=["p"])) == 10
    assert to.discard(to.rejects()["reject"].to_pylist()[:2]) == 2
    assert to.reasons() == {"no good": 1}
    cards = store(home, transactions(Path()))
    state = put(cards, put(cards, State(), payments(["a", "b"])), payments(["b", "c"]))
    assert (state.totals.stored, state.totals.duplicate) == (3, 1)


def test_of_writers_at_once_one_wins_and_nothing_is_lost(home: Home) -> None:
    """Each tries until its own rows are in, and sees the others' by then."""

    def ingest(number: int) -> int:
        lost, to = 0, store(home)
        while True:
            try:
                put(to, to.state(), readings([(f"p{number}", s) for s in range(10)]), bad(number))
            except Conflict:
                lost += 1
            else:
                return lost

    with ThreadPoolExecutor(4) as pool:
        lost = list(pool.map(ingest, range(4)))
    assert sum(lost), "nobody lost, so nobody raced"
    to = store(home)
    assert keys(to) == [(f"p{n}", s) for n in range(4) for s in range(10)]
    assert to.state().totals == Totals(44, 40, 0, 4)
    assert to.state().batch == 4
    assert sorted(to.rejects()["position"].to_pylist()) == [0, 1, 2, 3]


def test_tending_drops_days_and_joins_files(home: Home) -> None:
    to = store(home)
    state = to.state()
    for day in range(4):
        for second in range(2):
            state = put(to, state, readings([("p", day * 86_400 + second)]), bad(day * 2 + second))
    done = to.maintain(now=START + DAY * 3, observations=DAY, rejects=DAY * 9)
    assert done["observations_expired_rows"] == 4
    assert done["observations_compacted_files"] == 4
    assert done["rejects_compacted_files"] == 8
    assert to.state() == state
    assert keys(to) == [("p", day * 86_400 + second) for day in (2, 3) for second in range(2)]
    assert len(DeltaTable(to.observations).file_uris()) == 2
    found = list(to.pieces(START + DAY * 2, START + DAY * 4, 2))
    assert sum(len(to.read(a, b)) for a, b in found) == 4
    assert to.earliest(after=6) == START + DAY * 3


def test_scores_are_written_once_and_changed_ones_are_replaced(home: Home) -> None:
    to = ScoreStore(home.table("pumps", "scores"))
    assert to.write(table([row(s) for s in range(5)])) == Written(added=5)
    assert to.write(table([row(s) for s in range(5)])) == Written(same=5)
    changed = table([row(3, score=9.0), row(4), row(5)])
    assert to.write(changed) == Written(added=1, changed=1, same=1)
    assert to.read() == table([row(0), row(1), row(2), row(3, score=9.0), row(4), row(5)])
    assert to.latest(1) == {"p": START + timedelta(seconds=5)}
    assert to.maintain(now=START, keep=DAY)["expired_rows"] == 0
    assert len(to.read()) == 6


def test_shards_that_write_scores_at_once_all_succeed(home: Home) -> None:
    def shard(number: int) -> Written:
        to = ScoreStore(home.table("pumps", "scores"))
        to.write(table([row(s, f"p{number}") for s in range(10)]))
        return to.write(table([row(s, f"p{number}", score=2.0) for s in range(5)]))

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(shard, range(3))) == [Written(changed=5)] * 3
    assert len(ScoreStore(home.table("pumps", "scores")).read()) == 30


def test_a_store_that_is_away_is_worth_another_try(home: Home, s3: S3) -> None:
    to = store(home)
    state = to.state()
    s3.kill()
    try:
        with pytest.raises(Unavailable):
            put(to, state, readings([("p", 1)]), bad(1))
        with pytest.raises(Unavailable):
            to.read()
    finally:
        s3.start()
    assert put(to, to.state(), readings([("p", 1)]), bad(1)).totals == Totals(2, 1, 0, 1)


def test_what_keeps_us_out_is_told(home: Home, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.refuse(everybody=True)
    try:
        with pytest.raises(ConfigError, match=r"OFFBEAT_TABLES: .*; expected a bucket and credentials"):
            store(home).state()
    finally:
        s3.refuse(everybody=False)
    monkeypatch.setenv("OFFBEAT_TABLES", "s3://none-such/tables")
    with pytest.raises(ConfigError, match=r"OFFBEAT_TABLES: .*NoSuchBucket"):
        put(store(home), State(), readings([("p", 1)]))
