"""Packed files: whole, growing by members, cut short, damaged."""

from __future__ import annotations

import gzip
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.sources import open_source
from tests.sources.kit import HEADER, add, drain, drained, sensor, touch, write

ROWS = [f"2026-01-01T00:{i // 60:02d}:{i % 60:02d}Z,p1,{i},1\n" for i in range(500)]
WHOLE = gzip.compress((HEADER + "".join(ROWS)).encode())


@pytest.mark.parametrize("limit", [7, 100, 10_000])
def test_packed_equals_plain(tmp_path: Path, limit: int) -> None:
    write(tmp_path / "packed" / "f.csv.gz", WHOLE)
    write(tmp_path / "plain" / "f.csv", HEADER + "".join(ROWS))
    packed, plain = drain(sensor(tmp_path / "packed"), limit), drain(sensor(tmp_path / "plain"), limit)
    assert packed.rows == plain.rows
    assert len(packed.rows) == 500


def test_a_fresh_process_goes_on_in_the_middle_of_a_packed_file(tmp_path: Path) -> None:
    write(tmp_path / "f.csv.gz", WHOLE)
    source = open_source(sensor(tmp_path), Path("/"))
    first = source.read({}, 200)
    rest = drain(sensor(tmp_path), 100, first.position)
    assert [r["a"] for r in [*first.records.to_pylist(), *rest.rows]] == [float(i) for i in range(500)]


def test_members_added_later_are_read_on(tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv.gz", gzip.compress((HEADER + ROWS[0]).encode()))
    source = open_source(sensor(tmp_path), Path("/"))
    read = drained(source)
    add(path, gzip.compress(ROWS[1].encode()) + b"\0" * 100)
    read = drained(source, position=read.position)
    assert [r["a"] for r in read.rows] == [1]
    assert drained(source, position=read.position).received == 0


@pytest.mark.parametrize("cut", [1, 5, 20, len(WHOLE) // 2, -9, -1])
def test_a_file_cut_short_waits_and_reads_on_when_it_is_whole(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path / "f.csv.gz", WHOLE[:cut])
    read = drain(sensor(tmp_path))
    assert not read.reasons
    write(path, WHOLE)
    rest = drain(sensor(tmp_path), position=read.position)
    assert [r["a"] for r in [*read.rows, *rest.rows]] == [float(i) for i in range(500)]


@pytest.mark.parametrize(
    "content", [WHOLE[:5], WHOLE[: len(WHOLE) // 2], WHOLE[:-1], WHOLE[:-6] + b"xxxxxx", b"no gzip"]
)
def test_a_file_that_stays_broken_is_one_reject(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "f.csv.gz", content, age=timedelta(minutes=59))
    read = drain(sensor(tmp_path))
    assert not read.reasons
    touch(path, timedelta(minutes=61))
    late = drain(sensor(tmp_path), position=read.position)
    assert len(late.reasons) == 1
    assert "gzip" in late.reasons[0]
    assert not late.rows
    assert drain(sensor(tmp_path), position=late.position).received == 0


def test_an_empty_packed_file_is_empty(tmp_path: Path) -> None:
    write(tmp_path / "f.csv.gz", b"", age=timedelta(hours=2))
    assert drain(sensor(tmp_path)).received == 0


def test_much_in_little_is_read_in_bounded_pieces(tmp_path: Path) -> None:
    row = "2026-01-01T00:00:00Z,p1,1,1\n"
    write(tmp_path / "f.csv.gz", gzip.compress((HEADER + row * 200_000).encode()))
    assert len(drain(sensor(tmp_path), 50_000).rows) == 200_000


def test_packed_json(tmp_path: Path) -> None:
    line = b'{"time": 1767225600, "machine": "p1", "a": 1, "b": 2}\n'
    write(tmp_path / "f.jsonl.gz", gzip.compress(line * 3))
    assert len(drain(sensor(tmp_path), 2).rows) == 3
