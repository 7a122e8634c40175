"""A folder that grows: half-written lines wait, replaced files are noticed, nothing is read twice."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.errors import Unavailable
from tests.sources.kit import HEADER, add, drain, sensor, touch, write

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def row(second: int, machine: str = "p1") -> str:
    return f"2026-01-01T00:00:{second:02d}Z,{machine},{second},1\n"


def seconds(records: list[dict[str, object]]) -> list[object]:
    return [r["a"] for r in records]


def test_only_whole_lines_of_a_growing_file_are_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", HEADER + row(1) + row(2)[:-4], age=timedelta(0))
    read = drain(sensor(tmp_path))
    assert seconds(read.rows) == [1]
    add(path, row(2)[-4:] + row(3))
    read = drain(sensor(tmp_path), position=read.position)
    assert seconds(read.rows) == [2, 3]
    assert drain(sensor(tmp_path), position=read.position).position == read.position


def test_a_last_line_without_a_break_is_taken_once_the_file_is_left_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", HEADER + row(1) + row(2).strip(), age=timedelta(seconds=9))
    read = drain(sensor(tmp_path))
    assert seconds(read.rows) == [1]
    touch(path, timedelta(seconds=11))
    read = drain(sensor(tmp_path), position=read.position)
    assert seconds(read.rows) == [2]
    add(path, "\n" + row(3))
    assert seconds(drain(sensor(tmp_path), position=read.position).rows) == [3]


def test_a_header_half_written_waits(tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", HEADER[:9], age=timedelta(0))
    read = drain(sensor(tmp_path))
    add(path, HEADER[9:] + row(1))
    assert seconds(drain(sensor(tmp_path), position=read.position).rows) == [1]


def test_an_open_quote_waits_for_its_end_and_then_loses_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", HEADER + row(1, '"p') + row(2) + row(3), age=timedelta(0))
    read = drain(sensor(tmp_path))
    assert read.received == 0
    touch(path, MINUTE)
    read = drain(sensor(tmp_path), position=read.position)
    assert seconds(read.rows) == [2, 3]
    assert read.reasons == ['a quoted field is never closed; expected a second "']


@pytest.mark.parametrize(
    "content",
    [
        HEADER + row(5) + row(6),
        HEADER + row(5),
        HEADER + row(1) + row(7) + row(3) + row(4),
        "machine,time,a,b\np1,2026-01-01T00:00:05Z,5,1\n" + "p1,2026-01-01T00:00:06Z,6,1\n" * 9,
    ],
)
def test_a_file_replaced_under_its_name_is_read_from_its_start(tmp_path: Path, content: str) -> None:
    path = write(tmp_path / "f.csv", HEADER + row(1) + row(2) + row(3))
    before = drain(sensor(tmp_path))
    write(path, content, age=timedelta(seconds=30))
    read = drain(sensor(tmp_path), position=before.position)
    assert read.received == content.count("\n") - 1


def test_a_file_renamed_over_another_of_the_same_size_and_time_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", HEADER + row(1))
    before = drain(sensor(tmp_path))
    other = write(tmp_path / "f.tmp", HEADER + row(2))
    other.replace(path)
    assert seconds(drain(sensor(tmp_path), position=before.position).rows) == [2]


def test_a_file_merely_touched_is_not_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", HEADER + row(1))
    before = drain(sensor(tmp_path))
    touch(path, timedelta(0))
    assert drain(sensor(tmp_path), position=before.position).received == 0


def test_a_file_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", HEADER + row(1))
    read = drain(sensor(tmp_path))
    path.unlink()
    assert drain(sensor(tmp_path), position=read.position).position == {"files": {}}


def test_new_files_are_found_and_old_ones_not_opened_again(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", HEADER + row(1)).chmod(0o644)
    read = drain(sensor(tmp_path))
    write(tmp_path / "b" / "c.csv", HEADER + row(2))
    read = drain(sensor(tmp_path), position=read.position)
    assert seconds(read.rows) == [2]
    assert set(read.position["files"]) == {"a.csv", "b/c.csv"}


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_batches_end_at_the_limit_and_go_on_across_files(tmp_path: Path, limit: int) -> None:
    for name in "abc":
        write(tmp_path / f"{name}.csv", HEADER + "".join(row(i, name) for i in range(5)))
    read = drain(sensor(tmp_path), limit)
    assert [(r["entity"], r["a"]) for r in read.rows] == [(n, float(i)) for n in "abc" for i in range(5)]


def test_the_same_position_gives_the_same_batch(tmp_path: Path) -> None:
    write(tmp_path / "f.csv", HEADER + "".join(row(i) for i in range(9)))
    first, again = drain(sensor(tmp_path)), drain(sensor(tmp_path))
    assert first.rows == again.rows
    assert first.position == again.position


def test_a_folder_that_is_not_there_is_worth_another_try(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no such folder"):
        drain(sensor(tmp_path / "none"))
