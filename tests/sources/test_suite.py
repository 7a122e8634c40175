"""What every source promises, against its real server: once, in order, through crashes and bad records."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import Unavailable
from pipeline.sources import Source, open_source
from pipeline.steps.ingest import advance
from pipeline.store.observations import ObservationStore, State
from tests.sources.feeds import Feed, Files, Http, Kafka, Mqtt, Objects, Row, Sql, SqlServer
from tests.sources.kit import drain, drained

ROOT = Path(__file__).parents[2]
START = datetime(2026, 2, 1, tzinfo=UTC)
SERVERS = ("s3", "postgresql", "kafka", "mqtt")


def rows(count: int, first: int = 0, machine: str = "p1") -> list[Row]:
    return [
        {"time": (START + timedelta(seconds=i)).isoformat(), "machine": machine, "a": i, "b": -i}
        for i in range(first, first + count)
    ]


@pytest.fixture(params=["files", "http", "sqlite", *SERVERS])
def feed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Feed]:
    made: dict[str, Callable[[], Feed]] = {
        "files": lambda: Files(tmp_path),
        "http": lambda: Http(tmp_path),
        "s3": lambda: Objects(request.getfixturevalue("s3")),
        "sqlite": lambda: Sql(f"sqlite:///{tmp_path}/feed.db"),
        "postgresql": lambda: SqlServer(request.getfixturevalue("postgres_server")),
        "kafka": lambda: Kafka(request.getfixturevalue("kafka_broker")),
        "mqtt": lambda: Mqtt(request.getfixturevalue("mosquitto")),
    }
    feed = made[request.param]()
    yield feed
    feed.close()


@pytest.fixture
def store(feed: Feed, tmp_path: Path) -> ObservationStore:
    return ObservationStore(feed.stream(), str(tmp_path / "observations"), str(tmp_path / "rejects"))


def ingest(feed: Feed, store: ObservationStore, limit: int = 1000, **source: Any) -> State:
    with open_source(feed.stream(**source), Path("/")) as opened:
        return into(opened, store, limit)


def into(opened: Source, store: ObservationStore, limit: int = 1000) -> State:
    state, more = store.state(), True
    while more:
        state, more = advance(opened, store, state, limit)
    return state


def values(store: ObservationStore) -> list[float]:
    return sorted(store.read()["a"].to_pylist())


@pytest.mark.parametrize("limit", [7, 1000])
def test_every_record_comes_once_and_in_order_whatever_the_batch(feed: Feed, limit: int) -> None:
    feed.send(rows(100))
    read = drain(feed.stream(), limit)
    assert [r["a"] for r in read.rows] == list(range(100))
    assert [r["b"] for r in read.rows] == [-i for i in range(100)]
    assert not read.reasons
    feed.send(rows(5, first=100))
    assert [r["a"] for r in drain(feed.stream(), limit, read.position).rows] == [100, 101, 102, 103, 104]


def test_nothing_new_is_nothing_and_moves_no_position(feed: Feed) -> None:
    feed.send(rows(10))
    read = drain(feed.stream())
    again = drain(feed.stream(), position=read.position)
    assert (again.received, again.position) == (0, read.position)


def test_a_position_gives_the_same_records_until_the_store_has_moved_it(feed: Feed) -> None:
    """A position is JSON, and all there is: a source opened anew, or one that went on, reads the same."""
    feed.send(rows(30))
    with open_source(feed.stream(), Path("/")) as source:
        first = source.read({}, 10)
        position = json.loads(json.dumps(first.position))
        once = source.read(position, 10)
        source.read(once.position, 10)
        again = source.read(position, 10)
        assert (again.records, again.position) == (once.records, once.position)
    if feed.REPLAYS:
        with open_source(feed.stream(), Path("/")) as another:
            again = another.read(position, 10)
        assert (again.records, again.position) == (once.records, once.position)
    assert once.records["a"].to_pylist() == list(range(10, 20))


def test_what_is_sent_while_a_source_is_open_is_read_by_it(feed: Feed) -> None:
    feed.send(rows(10))
    with open_source(feed.stream(), Path("/")) as source:
        read = drained(source)
        feed.send(rows(10, first=10))
        assert [r["a"] for r in drained(source, position=read.position).rows] == list(range(10, 20))


def test_what_is_sent_twice_is_stored_once(feed: Feed, store: ObservationStore) -> None:
    feed.send(rows(40))
    feed.send(rows(20))
    first = ingest(feed, store, limit=25)
    feed.send(rows(40))
    totals = ingest(feed, store).totals
    assert (first.totals.stored, first.totals.duplicate) == (40, 20)
    assert (totals.received, totals.stored, totals.duplicate, totals.rejected) == (100, 40, 60, 0)


def test_what_was_read_and_never_stored_is_given_again(feed: Feed, store: ObservationStore) -> None:
    feed.send(rows(20))
    with open_source(feed.stream(), Path("/")) as source:
        assert source.read({}, 15).received == 15
    feed.send(rows(5, first=20))
    totals = ingest(feed, store).totals
    assert values(store) == list(range(25))
    assert (totals.received, totals.duplicate) == (25, 0)


def test_records_out_of_order_and_late_are_stored(feed: Feed, store: ObservationStore) -> None:
    feed.send(list(reversed(rows(20, first=50))))
    ingest(feed, store)
    feed.send(rows(20))
    state = ingest(feed, store)
    assert values(store) == [*range(20), *range(50, 70)]
    assert state.watermark == START + timedelta(seconds=69)


def test_a_bad_record_is_a_reject_with_its_reason_and_costs_no_other(
    feed: Feed, store: ObservationStore
) -> None:
    feed.send(rows(5))
    bad = [
        {**rows(1)[0], "a": "warm"},
        {**rows(1)[0], "time": "yesterday"},
        {**rows(1)[0], "machine": ""},
        {**rows(1)[0], "time": None},
    ]
    feed.send(bad)
    reasons = feed.poison()
    feed.send(rows(5, first=5))
    totals = ingest(feed, store, limit=6).totals
    assert values(store) == list(range(10))
    assert totals.rejected == len(bad) + len(reasons)
    kept = store.rejects().to_pylist()
    said = [
        "a: 'warm' is not a finite number",
        "time: 'yesterday' is not a time",
        "machine: missing",
        "time: missing",
    ]
    for beginning in [*said, *reasons]:
        assert any(reject["reason"].startswith(beginning) for reject in kept), (
            beginning,
            [r["reason"] for r in kept],
        )
    ingest(feed, store)
    assert len(store.rejects()) == len(kept), "a reject read again is no second one"


@pytest.mark.parametrize(
    "change", ["a column more", "a channel less", "another order", "another type", "renamed"]
)
def test_a_schema_that_drifts_loses_nothing(feed: Feed, store: ObservationStore, change: str) -> None:
    """More columns are not read, a channel that stops is a gap, text and new names are rejects."""
    new = {
        "a column more": lambda r: {**r, "extra": "x"},
        "a channel less": lambda r: {k: v for k, v in r.items() if k != "b"},
        "another order": lambda r: dict(reversed(r.items())),
        "another type": lambda r: {**r, "a": f"{r['a']} bar"},
        "renamed": lambda r: {"time": r["time"], "machine": r["machine"], "c": r["a"], "d": r["b"]},
    }[change]
    feed.send(rows(10))
    feed.send([new(row) for row in rows(10, first=10)])
    totals = ingest(feed, store).totals
    rejected = {"another type": 10, "renamed": 10}.get(change, 0)
    assert (totals.received, totals.stored, totals.rejected) == (20, 20 - rejected, rejected)
    if change == "a channel less":
        assert store.read()["b"].null_count == 10
    elif not rejected:
        assert store.read().select(["a", "b"]).to_pylist() == [{"a": i, "b": -i} for i in range(20)]
    if change == "renamed":
        assert (
            store.rejects()["reason"].to_pylist()
            == ["every channel is missing; expected at least one reading"] * 10
        )


def test_a_burst_of_ten_times_the_usual_is_read_in_batches_of_the_usual(
    feed: Feed, store: ObservationStore
) -> None:
    feed.send(rows(50))
    ingest(feed, store, limit=50)
    feed.send(rows(500, first=50))
    state = ingest(feed, store, limit=50)
    assert values(store) == list(range(550))
    assert state.batch >= 11


@pytest.mark.parametrize("feed", SERVERS, indirect=True)
def test_a_server_that_is_down_costs_nothing_but_time(
    feed: Feed, store: ObservationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down at the start, down while it is read, down when it is told of the commit."""
    monkeypatch.setattr("pipeline.sources.objects.ATTEMPTS", 1)
    feed.send(rows(30))
    stream = feed.stream()
    with monkeypatch.context() as patch, open_source(stream, Path("/")) as source:
        state = store.state()
        batch = source.read(state.position, 10)
        state = store.append(state, batch.records, batch.rejects, batch.received, batch.position)
        patch.setattr("pipeline.sources.kafka.PATIENCE", 3.0)
        patch.setattr("pipeline.sources.kafka.ANSWER", 3.0)
        feed.kill()
        try:
            source.stored(state.position)  # raises nothing
            with pytest.raises(Unavailable), open_source(stream, Path("/")) as late:
                late.read(state.position, 10)
            try:
                ahead = source.read(state.position, 100)
            except Unavailable:
                pass
            else:  # what a client had fetched already
                state = store.append(state, ahead.records, ahead.rejects, ahead.received, ahead.position)
        finally:
            feed.start()
    ingest(feed, store)
    assert values(store) == list(range(30))
    totals = store.state().totals
    assert totals.received == 30 + totals.duplicate
    assert totals.duplicate == 0 or not feed.REPLAYS


@pytest.mark.slow
@pytest.mark.parametrize(
    "feed", ["http", "s3", "postgresql", "kafka"], indirect=True
)  # others: test_mqtt.py, tests/store
def test_an_ingest_killed_anywhere_loses_nothing_and_doubles_nothing(feed: Feed, tmp_path: Path) -> None:
    feed.send(rows(60))
    feed.send([{**rows(1)[0], "a": "warm"}] * 3)
    feed.send(rows(60, first=50))
    (tmp_path / "stream.json").write_text(feed.stream().model_dump_json())
    tables = f"s3://{feed.bucket}/tables" if isinstance(feed, Objects) else tmp_path / "tables"
    program = Path(__file__).with_name("killed_reading.py")
    done = subprocess.run(
        [sys.executable, program, tmp_path / "stream.json", tables, "123", "110", "10", "3"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 5
