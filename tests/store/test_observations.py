"""Observations: each record once, position and rows in one commit, whoever else touches the table."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import schemas
from pipeline.errors import Conflict, DataError, Unavailable
from pipeline.store import delta
from pipeline.store.observations import ObservationStore, State, Totals
from tests.sources.kit import sensor, transactions
from tests.store.ingest_kit import START, bad, keys, payments, put, readings, store

DAY = timedelta(days=1)


def test_a_stream_begins_at_the_beginning(tmp_path: Path) -> None:
    new = store(tmp_path)
    assert new.state() == State({}, Totals(), 0, None)
    assert new.version() == -1
    assert new.read().schema == schemas.records(new.stream)
    assert len(new.rejects()) == 0
    assert list(new.pieces(START, START + DAY, 10)) == []


def test_rows_position_and_totals_are_one_commit(tmp_path: Path) -> None:
    to = store(tmp_path)
    after = put(to, to.state(), readings([("p1", 1), ("p2", 1), ("p1", 1)]), bad(5))
    assert after == State({"at": 1}, Totals(4, 2, 1, 1), 1, START + timedelta(seconds=1))
    assert store(tmp_path).state() == after
    table = DeltaTable(to.observations)
    assert table.version() == 1
    assert table.transaction_version("offbeat.ingest") == 1
    assert json.loads(table.history(1)[0]["offbeat.position"]) == {"at": 1}
    assert keys(to) == [("p1", 1), ("p2", 1)]


def test_the_first_of_two_records_with_one_key_stays(tmp_path: Path) -> None:
    to = store(tmp_path)
    put(to, to.state(), readings([("p1", 5), ("p1", 5), ("p1", 4)]))
    assert to.read()["a"].to_pylist() == [2.0, 0.0]


def test_what_is_stored_already_is_counted_and_dropped(tmp_path: Path) -> None:
    to = store(tmp_path)
    state = put(to, to.state(), readings([("p1", s) for s in range(10)]))
    state = put(to, state, readings([("p1", 9), ("p2", 9), ("p1", 10), ("p1", 0)]))
    assert state.totals == Totals(14, 12, 2, 0)
    assert keys(to) == [("p1", s) for s in range(11)] + [("p2", 9)]


ROWS = st.lists(st.tuples(st.sampled_from(["p1", "p2", "é"]), st.integers(-100_000, 100_000)), max_size=12)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(ROWS, max_size=4), st.booleans())
def test_any_order_and_repetition_stores_each_key_once(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[str, int]]], wide: bool
) -> None:
    to = store(tmp_path_factory.mktemp("t"))
    state = to.state()
    far = [("far", 10**9)] if wide else []
    for batch in batches:
        state = put(to, state, readings([*batch, *far]))
    seen = {key for batch in batches for key in batch} | (set(far) if batches else set())
    assert keys(to) == sorted(seen)
    assert state.totals.stored == len(seen)
    assert state.totals.received == state.totals.stored + state.totals.duplicate
    assert state == to.state()


def test_a_transaction_id_is_stored_once_in_the_whole_table(tmp_path: Path) -> None:
    to = store(tmp_path, transactions(tmp_path))
    state = put(to, to.state(), payments(["a", "b", "a", "it's"]))
    state = put(to, state, payments(["b", "c", "it's"], seconds=86_400 * 400))
    assert state.totals == Totals(7, 4, 3, 0)
    assert sorted(to.read()["id"].to_pylist()) == ["a", "b", "c", "it's"]


def test_transactions_of_one_moment_are_ordered_by_id(tmp_path: Path) -> None:
    to = store(tmp_path, transactions(tmp_path))
    put(to, to.state(), payments(["c", "a", "b"]))
    assert to.read(columns=["id"])["id"].to_pylist() == ["a", "b", "c"]


def test_a_batch_without_rows_still_commits_its_position(tmp_path: Path) -> None:
    to = store(tmp_path)
    state = put(to, to.state(), readings([]), at=7)
    assert (state.batch, state.position) == (1, {"at": 7})
    assert to.state() == state
    version = to.version()
    assert to.append(state, readings([]), bad(), 0, {"at": 7}) is state
    assert to.version() == version


def test_a_batch_that_does_not_add_up_is_refused(tmp_path: Path) -> None:
    to = store(tmp_path)
    with pytest.raises(DataError, match="2 received, but 1 records and 0 rejects"):
        to.append(to.state(), readings([("p", 1)]), bad(), 2, {})
    assert to.version() == -1


def test_the_watermark_is_the_newest_time_and_never_falls(tmp_path: Path) -> None:
    to = store(tmp_path)
    state = put(to, to.state(), readings([("p", 9)]))
    assert put(to, state, readings([("p", 3)])).watermark == START + timedelta(seconds=9)


@pytest.mark.parametrize("columns", [None, ["a"], ["time", "batch", "date"]])
def test_a_range_of_some_entities_and_columns_is_read_in_order(
    tmp_path: Path, columns: list[str] | None
) -> None:
    to = store(tmp_path)
    put(to, to.state(), readings([(e, s * 40_000) for s in (3, 1, 2, 0) for e in ("b", "a", "c")]))
    found = to.read(
        START + timedelta(seconds=40_000),
        START + timedelta(seconds=120_000),
        entities=["a", "b"],
        columns=columns,
    )
    assert found.column_names == (columns or schemas.records(to.stream).names)
    if columns != ["time", "batch", "date"]:
        assert found["a"].to_pylist() == [4.0, 7.0, 3.0, 6.0]


def test_of_two_ingests_at_once_one_wins_and_nothing_doubles(tmp_path: Path) -> None:
    to = store(tmp_path)
    begun = put(to, to.state(), readings([("p", 0)]))

    def run(_: int) -> State | Conflict:
        try:
            return put(store(tmp_path), begun, readings([("p", s) for s in range(1, 50)]), bad(1, 2, 3))
        except Conflict as error:
            return error

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(run, range(8)))
    (winner,) = [r for r in results if isinstance(r, State)]
    assert to.state() == winner
    assert keys(to) == [("p", s) for s in range(50)]
    assert to.rejects()["position"].to_pylist() == [1, 2, 3]


def test_a_run_that_began_earlier_is_refused_later(tmp_path: Path) -> None:
    to = store(tmp_path)
    begun = to.state()
    put(to, begun, readings([("p", 0)]))
    with pytest.raises(Conflict, match="at batch 1, this run began at 0"):
        put(to, begun, readings([("p", 0)]))


def test_a_table_made_by_many_at_once_is_one_table(tmp_path: Path) -> None:
    schema = schemas.observations(sensor(tmp_path))
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: delta.make(str(tmp_path / "t"), schema, "t").version(), range(8)))
    assert made == [0] * 8


def test_rejects_are_stored_once_however_often_they_come(tmp_path: Path) -> None:
    to = store(tmp_path)
    state = put(to, to.state(), readings([]), bad(1, 2, 2))
    state = put(to, state, readings([]), bad(2, 3))
    assert to.rejects()["position"].to_pylist() == [1, 2, 3]
    assert state.totals == Totals(5, 0, 0, 5)
    assert to.rejects(limit=1)["raw"].to_pylist() == [b"raw 1"]
    assert len(to.rejects(reason="good")) == 3
    assert len(to.rejects(reason="other")) == 0


def test_rejects_of_a_run_that_died_before_its_commit_are_not_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = store(tmp_path)
    begun = put(to, to.state(), readings([("p", 0)]))

    def die(*_: Any) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ObservationStore, "_rows", die)
        with pytest.raises(Unavailable, match="no space left"):
            put(to, begun, readings([("p", 1)]), bad(1, 2))
    assert to.state() == begun
    state = put(to, put(to, begun, readings([("p", 1)]), bad(1)), readings([]), bad(2))
    assert to.rejects()["position"].to_pylist() == [1, 2]
    assert state.totals == Totals(4, 2, 0, 2)


def test_discarded_rejects_are_gone(tmp_path: Path) -> None:
    to = store(tmp_path)
    put(to, to.state(), readings([]), bad(*range(100)))
    ids = to.rejects()["reject"].to_pylist()
    to.discard(ids[10:])
    to.discard(ids[10:])
    to.discard([])
    assert sorted(to.rejects()["reject"].to_pylist()) == sorted(ids[:10])
    assert len(to.rejects(reason="good")) == 10
    put(to, to.state(), readings([]), bad(1, 5, 50))
    assert to.rejects()["position"].to_pylist() == [*range(10), 50]


def test_a_replay_killed_before_discarding_only_counts_duplicates(tmp_path: Path) -> None:
    to = store(tmp_path)
    state = put(to, to.state(), readings([]), bad(1))
    for _ in range(2):
        state = to.append(state, readings([("p", 1)]), bad(), 1, state.position)
    assert state.totals == Totals(3, 1, 1, 1)


def test_the_state_survives_tending_and_strangers(tmp_path: Path) -> None:
    to = store(tmp_path)
    state = to.state()
    for second in range(5):
        state = put(to, state, readings([("p", second)]), bad(second))
    to.maintain(now=START + DAY, observations=DAY * 30, rejects=DAY * 30)
    newest = DeltaTable(to.observations).history(1)[0]
    assert newest["offbeat.batch"] == "5"
    DeltaTable(to.observations).optimize.compact()
    DeltaTable(to.observations).vacuum(0, dry_run=False, enforce_retention_duration=False)
    for _ in range(20):
        DeltaTable(to.observations).optimize.z_order(["time"])
    assert "offbeat.batch" not in DeltaTable(to.observations).history(1)[0]
    assert to.state() == state
    assert len(DeltaTable(to.observations).file_uris()) == 1
    assert put(to, state, readings([("p", 4), ("p", 5)])).totals == Totals(12, 6, 1, 5)


def test_tending_that_began_before_an_ingest_does_not_set_its_state_back(tmp_path: Path) -> None:
    to = store(tmp_path)
    early = put(to, to.state(), readings([("p", 0)]))
    late = put(to, early, readings([("p", 1)]))
    DeltaTable(to.observations).optimize.compact(
        commit_properties=CommitProperties(custom_metadata=early.metadata())
    )
    assert to.state() == late


def test_a_log_cut_short_is_an_error_not_a_new_beginning(tmp_path: Path) -> None:
    to = store(tmp_path)
    put(to, to.state(), readings([("p", 0)]))
    table = DeltaTable(to.observations)
    table.optimize.z_order(["time"])
    table.create_checkpoint()
    for old in sorted(Path(to.observations, "_delta_log").glob("*.json"))[:2]:
        old.unlink()
    with pytest.raises(DataError, match="no commit says how far batch 1 had read"):
        to.state()


def test_retention_drops_whole_days_and_says_how_much(tmp_path: Path) -> None:
    to = store(tmp_path)
    state = put(to, to.state(), readings([("p", d * 86_400) for d in range(10)]), bad(1))
    done = to.maintain(now=START + DAY * 9, observations=DAY * 3, rejects=DAY * 3)
    assert done["observations_expired_rows"] == 6
    assert done["rejects_expired_rows"] == 1
    assert keys(to) == [("p", d * 86_400) for d in range(6, 10)]
    assert to.state() == state


def test_new_channels_join_the_table_and_old_ones_stay(tmp_path: Path) -> None:
    first = sensor(tmp_path, [{"name": "a"}, {"name": "old"}])
    then = sensor(tmp_path, [{"name": "a"}, {"name": "new"}])
    state = put(store(tmp_path, first), State(), readings([("p", 1)], first))
    assert store(tmp_path, then).read()["new"].to_pylist() == [None]
    put(store(tmp_path, then), state, readings([("p", 2)], then))
    assert store(tmp_path, then).read().column_names == ["entity", "time", "a", "new"]
    assert store(tmp_path, first).read()["old"].to_pylist() == [None, None]


def test_a_retyped_column_is_refused_and_named(tmp_path: Path) -> None:
    to = store(tmp_path)
    table = pa.table(
        {"entity": ["p"], "time": pa.array([START], schemas.TIME), "a": ["text"], "date": [START.date()]}
    )
    write_deltalake(to.observations, table, partition_by=["date"])
    with pytest.raises(DataError, match="column a is stored as string, but the stream says double"):
        put(to, State(), readings([("p", 1)]))
    with pytest.raises(DataError, match="column a"):
        to.read()


def test_a_table_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    put(store(tmp_path), State(), readings([("p", 1)]))
    with pytest.raises(DataError, match="has no id"):
        store(tmp_path, transactions(tmp_path)).read()


def test_a_file_that_is_missing_from_the_table_is_no_empty_answer(tmp_path: Path) -> None:
    to = store(tmp_path)
    put(to, to.state(), readings([("p", 1)]))
    shutil.rmtree(Path(to.observations) / "date=2026-01-01")
    with pytest.raises(Unavailable):
        to.read()


@pytest.mark.parametrize("rows", [1, 3, 7, 100])
def test_pieces_cover_the_range_without_gap_or_overlap(tmp_path: Path, rows: int) -> None:
    to = store(tmp_path)
    put(to, to.state(), readings([("p", s * 3600) for s in range(72)]))
    start, end = START + timedelta(hours=5), START + timedelta(hours=60)
    found = list(to.pieces(start, end, rows))
    assert found[0][0] == start
    assert found[-1][1] == end
    assert all(a[1] == b[0] for a, b in pairwise(found))
    assert sum(len(to.read(a, b)) for a, b in found) == 55
    assert max(len(to.read(a, b)) for a, b in found) <= max(rows, 2)


def test_names_that_look_like_sql_are_names(tmp_path: Path) -> None:
    names = ["' OR 1=1 --", 'a"b', "back\\slash", "line\nbreak", "%_", "🦀", "{}", "date >= '2026'"]
    to = store(tmp_path)
    state = put(to, to.state(), readings([(n, 1) for n in names]))
    for name in names:
        state = put(to, state, readings([(name, 1), (name, 2)]))
    assert (state.totals.stored, state.totals.duplicate) == (16, 8)
    assert to.read(entities=["' OR 1=1 --"])["entity"].to_pylist() == ["' OR 1=1 --"] * 2
    cards = store(tmp_path / "cards", transactions(tmp_path))
    state = put(cards, put(cards, State(), payments(names)), payments(names))
    assert (state.totals.stored, state.totals.duplicate) == (8, 8)


def test_long_ids_that_begin_alike_are_told_apart(tmp_path: Path) -> None:
    """Statistics of a file hold the beginnings of texts alone."""
    ids = [base * 120 + end for base in ("x", "é") for end in "abc"]
    to = store(tmp_path, transactions(tmp_path))
    state = put(to, State(), payments(ids))
    for one in ids:
        state = put(to, state, payments([one]))
    assert (state.totals.stored, state.totals.duplicate) == (6, 6)


def test_files_that_a_merge_of_others_wrote_are_read_alike(tmp_path: Path) -> None:
    to = store(tmp_path)
    state = put(to, to.state(), readings([("p1", 1), ("p2", 2)]), bad(1))
    mended = pa.table({"entity": ["p1"], "a": [9.0]})
    merge = DeltaTable(to.observations).merge(
        mended, "t.entity = s.entity", source_alias="s", target_alias="t"
    )
    merge.when_matched_update({"a": "s.a"}).execute()
    state = put(to, state, readings([("p1", 1), ("p2", 2), ("p3", 3)]), bad(1))
    assert keys(to) == [("p1", 1), ("p2", 2), ("p3", 3)]
    assert to.read(entities=["p1"])["a"].to_pylist() == [9.0]
