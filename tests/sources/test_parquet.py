"""Parquet: rows by number, and files that are not whole yet."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.sources.kit import NOW, Read, drain, sensor, touch, write

START = datetime(2026, 1, 1, tzinfo=UTC)


def table(rows: int = 10) -> pa.Table:
    return pa.table(
        {
            "time": pa.array([START + timedelta(seconds=i) for i in range(rows)], pa.timestamp("ms", "UTC")),
            "machine": pa.array([f"p{i % 2}" for i in range(rows)]).dictionary_encode(),
            "a": pa.array([float(i) for i in range(rows)], pa.float32()),
            "b": pa.array(range(rows), pa.int16()),
            "other": pa.array(["x"] * rows),
        }
    )


def put(folder: Path, rows: pa.Table, **options: int) -> Path:
    path = folder / "f.parquet"
    pq.write_table(rows, path, **options)
    touch(path, timedelta(minutes=1))
    return path


@pytest.mark.parametrize("limit", [1, 3, 4, 1000])
def test_rows_are_read_once_in_any_chunks_across_row_groups(tmp_path: Path, limit: int) -> None:
    put(tmp_path, table(), row_group_size=4)
    read = drain(sensor(tmp_path), limit)
    assert [r["b"] for r in read.rows] == [float(i) for i in range(10)]
    assert drain(sensor(tmp_path), limit, read.position).received == 0


@pytest.mark.parametrize(
    "machine",
    [
        pa.array(["a", "b", None], pa.large_string()),
        pa.array(["a", "b", None], pa.string_view()),
        pa.array([b"a", b"b", b"\xff"], pa.binary()),
        pa.array([1.0, 2.0, None]),
        pa.array([1.0, 2.0, 2.5]),
        pa.array(["a", "b", None]).dictionary_encode(),
    ],
)
def test_names_in_any_column_type(tmp_path: Path, machine: pa.Array) -> None:
    put(tmp_path, table(3).set_column(1, "machine", machine))
    read = drain(sensor(tmp_path))
    assert len(read.rows) == 2
    assert len(read.reasons) == 1


def test_rejects_are_rows_as_json(tmp_path: Path) -> None:
    rows = table(3).set_column(2, "a", pa.array([1.0, float("inf"), float("nan")]))
    put(tmp_path, rows)
    read = drain(sensor(tmp_path))
    (reject,) = read.rejects.to_pylist()
    assert (reject["position"], reject["line"], reject["header"]) == (1, None, None)
    assert reject["reason"] == "a: inf is not a finite number"
    assert json.loads(reject["raw"])["machine"] == "p1"


def test_a_missing_column_rejects_each_row(tmp_path: Path) -> None:
    put(tmp_path, table(3).drop_columns(["b"]))
    assert drain(sensor(tmp_path)).reasons == ["b: no such column; the file has time, machine, a, other"] * 3


def test_a_time_beyond_the_calendar_is_a_reject(tmp_path: Path) -> None:
    put(tmp_path, table(1).set_column(0, "time", pa.array([2**62], pa.timestamp("us"))))
    assert len(drain(sensor(tmp_path)).reasons) == 1


def broken(folder: Path, cut: int, age: timedelta) -> Read:
    whole = put(folder, table(1000)).read_bytes()
    write(folder / "f.parquet", whole[:cut], age=age)
    return drain(sensor(folder))


@pytest.mark.parametrize("cut", [0, 10, 2000, -1])
def test_a_half_written_file_waits_and_one_never_finished_is_one_reject(tmp_path: Path, cut: int) -> None:
    assert broken(tmp_path, cut, timedelta(minutes=59)).received == 0
    read = broken(tmp_path, cut, timedelta(minutes=61))
    assert len(read.reasons) == (1 if cut else 0)
    assert drain(sensor(tmp_path), position=read.position).received == 0
    put(tmp_path, table(1000))
    assert len(drain(sensor(tmp_path), position=read.position).rows) == 1000
    assert NOW
