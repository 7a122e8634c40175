"""Which files are taken: finished ones, of known kinds, inside the folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.sources.kit import HEADER, drain, sensor, write

CONTENT = HEADER + "2026-01-01,p1,1,2\n"


@pytest.mark.parametrize(
    "name",
    [".f.csv", "f.csv.tmp", "f.csv.part", "f.csv.crdownload", "f.csv~", ".hidden/f.csv", "f.csv.TMP", "f.swp",
     "notes.txt", "README", "f.csv.bz2"],
)  # fmt: skip
def test_unfinished_hidden_and_unknown_files_are_not_taken(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, CONTENT)
    assert drain(sensor(tmp_path)).received == 0


def test_a_configured_format_takes_files_of_any_name(tmp_path: Path) -> None:
    write(tmp_path / "data.log", CONTENT)
    assert drain(sensor(tmp_path, format="csv")).received == 1


def test_a_pattern_chooses_files(tmp_path: Path) -> None:
    write(tmp_path / "a" / "x.csv", CONTENT)
    write(tmp_path / "b" / "x.csv", CONTENT)
    assert set(drain(sensor(tmp_path, pattern="a/*.csv")).position["files"]) == {"a/x.csv"}


def test_links_out_of_the_folder_are_refused_and_links_inside_followed(tmp_path: Path) -> None:
    write(tmp_path / "outside" / "secret.csv", CONTENT)
    inside = tmp_path / "inside"
    write(inside / "f.csv", CONTENT)
    (inside / "out.csv").symlink_to(tmp_path / "outside" / "secret.csv")
    (inside / "dir").symlink_to(tmp_path / "outside")
    (inside / "in.csv").symlink_to(inside / "f.csv")
    (inside / "loop.csv").symlink_to(inside / "loop.csv")
    (inside / "dangling.csv").symlink_to(inside / "nothing")
    assert set(drain(sensor(inside)).position["files"]) == {"f.csv", "in.csv"}


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    assert drain(sensor(tmp_path)).received == 0


def test_names_that_are_not_utf8_are_read(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.csv"
    Path(os.fsdecode(path)).write_text(CONTENT + "x,p1,1,2\n")
    read = drain(sensor(tmp_path))
    assert len(read.rows) == 1
    assert read.rejects["source"].to_pylist() == ["\\xff.csv"]
    assert drain(sensor(tmp_path), position=json.loads(json.dumps(read.position))).received == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_keeps_no_other_from_being_read(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", CONTENT).chmod(0)
    write(tmp_path / "b.csv", CONTENT)
    assert drain(sensor(tmp_path)).received == 1
