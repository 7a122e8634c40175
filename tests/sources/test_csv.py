"""CSV as it comes: endings, quotes, marks, and lines that are no records."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.sources import split, text
from tests.sources.kit import HEADER, drain, sensor, transactions, write

GOOD = "2026-01-01T00:00:00Z,p1,1.5,2\n"


def one(folder: Path, content: str | bytes, **source: Any) -> tuple[list[dict[str, object]], list[str]]:
    write(folder / "f.csv", content)
    read = drain(sensor(folder, **source))
    return read.rows, read.reasons


def test_records_come_under_their_final_names_and_types(tmp_path: Path) -> None:
    rows, reasons = one(tmp_path, HEADER + GOOD)
    assert rows == [{"entity": "p1", "time": datetime(2026, 1, 1, tzinfo=UTC), "a": 1.5, "b": 2.0}]
    assert not reasons


@pytest.mark.parametrize("content", ["", "\n\n", HEADER, HEADER.strip(), HEADER + "\n\r\n\n"])
def test_a_file_without_records_gives_none(tmp_path: Path, content: str) -> None:
    assert one(tmp_path, content) == ([], [])


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff" + HEADER + GOOD,
        (HEADER + GOOD).replace("\n", "\r\n"),
        "\n\n" + HEADER + "\n" + GOOD + "\n",
        (HEADER + GOOD).rstrip(),
        'time, machine ,"a", b\n 2026-01-01T00:00:00Z , p1 , 1.5 , 2 \n',
        "a,extra,b,machine,time\n1.5,x,2,p1,2026-01-01T00:00:00Z\n",
        HEADER + '"2026-01-01T00:00:00Z","p1","1.5","2"\n',
    ],
)
def test_harmless_differences_change_no_record(tmp_path: Path, content: str) -> None:
    rows, reasons = one(tmp_path, content)
    assert rows == [{"entity": "p1", "time": datetime(2026, 1, 1, tzinfo=UTC), "a": 1.5, "b": 2.0}]
    assert not reasons


def test_a_quoted_field_may_hold_delimiters_quotes_and_line_breaks(tmp_path: Path) -> None:
    rows, _ = one(tmp_path, HEADER + GOOD.replace("p1", '"p,\n""1"""') + GOOD)
    assert [row["entity"] for row in rows] == ['p,\n"1"', "p1"]


def test_another_delimiter(tmp_path: Path) -> None:
    rows, _ = one(tmp_path, (HEADER + GOOD).replace(",", ";"), delimiter=";")
    assert len(rows) == 1


def test_a_tsv_file_is_delimited_by_tabs(tmp_path: Path) -> None:
    write(tmp_path / "f.tsv", (HEADER + GOOD).replace(",", "\t"))
    assert len(drain(sensor(tmp_path)).rows) == 1


def test_a_first_column_without_a_name_keeps_its_place(tmp_path: Path) -> None:
    write(tmp_path / "f.tsv", "\ttime\tmachine\ta\tb\t\n0\t2026-01-01\tp1\t1\t2\tx\n")
    assert drain(sensor(tmp_path)).rows[0]["a"] == 1.0


def test_a_missing_column_rejects_each_record_and_is_named(tmp_path: Path) -> None:
    rows, reasons = one(tmp_path, "time,machine,a\n2026-01-01,p1,1\n2026-01-02,p1,1\n")
    assert not rows
    assert reasons == ["b: no such column in the header; it has time, machine, a"] * 2


def test_a_column_that_is_there_twice_rejects_each_record(tmp_path: Path) -> None:
    _, reasons = one(tmp_path, "time,machine,a,b,b\n2026-01-01,p1,1,2,3\n")
    assert reasons == ["b: 2 columns of that name in the header; expected one"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"2026-01-01,p1,1", "3 fields; expected 4: time, machine, a, b"),
        (b"2026-01-01,p1,1,2,3", "5 fields; expected 4: time, machine, a, b"),
        (b"2026-01-01,p\xff,1,2", "byte 0xff at 12 is not UTF-8; expected UTF-8 text"),
        (b"2026-01-01,p1,1\r,2", r"a carriage return inside the line; expected \n or \r\n at its end"),
        (b'2026-01-01,"p1,1,2', 'a quoted field is never closed; expected a second "'),
        (b"2026-01-01," + b"x" * split.MAX_RECORD, "longer than 1048576 bytes; expected one record a line"),
    ],
)
def test_a_line_that_is_no_record_loses_no_other(tmp_path: Path, line: bytes, reason: str) -> None:
    content = (HEADER + GOOD).encode() + line + b"\n" + GOOD.encode()
    rows, reasons = one(tmp_path, content)
    assert reasons == [reason]
    assert len(rows) == 2


def test_a_line_without_end_is_stepped_over_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "BLOCK", 1 << 16)
    write(tmp_path / "f.csv", HEADER + "x" * (3 << 20) + "\n" + GOOD)
    read = drain(sensor(tmp_path))
    assert read.reasons == ["longer than 1048576 bytes; expected one record a line"]
    assert len(read.rows) == 1
    assert len(read.rejects["raw"][0].as_py()) == 64 * 1024


def test_a_first_line_too_long_for_a_header_rejects_what_follows(tmp_path: Path) -> None:
    rows, reasons = one(tmp_path, "x" * (2 << 20) + "\n" + GOOD)
    assert not rows
    assert reasons[1].startswith("no header line that can be read")


def test_a_file_whose_lines_end_in_carriage_returns_alone_is_not_skipped_in_silence(tmp_path: Path) -> None:
    rows, reasons = one(tmp_path, (HEADER + GOOD).replace("\n", "\r"))
    assert (rows, reasons) == ([], ["no header line that can be read; expected the names of the columns"])


def test_rejects_say_where_and_keep_the_bytes(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "f.csv", HEADER + "\n" + GOOD + "x,p1,1,2\r\n")
    (reject,) = drain(sensor(tmp_path)).rejects.to_pylist()
    assert reject["source"] == "deep/f.csv"
    assert reject["line"] == 4
    assert reject["position"] == len(HEADER + "\n" + GOOD)
    assert reject["raw"] == b"x,p1,1,2"
    assert reject["header"] == '["time", "machine", "a", "b"]'


def test_lines_are_counted_across_batches_and_quoted_line_breaks(tmp_path: Path) -> None:
    write(tmp_path / "f.csv", HEADER + GOOD.replace("p1", '"p\n1"') * 3 + "x,p1,1,2\n")
    assert drain(sensor(tmp_path), limit=2).rejects["line"].to_pylist() == [8]


def test_without_an_entity_column_the_stream_is_one_machine(tmp_path: Path) -> None:
    write(tmp_path / "f.csv", "time,a,b\n2026-01-01,1,2\n")
    assert drain(sensor(tmp_path, entity=None)).rows[0]["entity"] == "pumps"


def test_transactions_keep_id_amount_and_categories(tmp_path: Path) -> None:
    write(tmp_path / "f.csv", "id,card,time,amount,terminal\n007,c1,2026-01-01,9.5,t1\n8,c1,2026-01-01,1,\n")
    rows = drain(transactions(tmp_path)).rows
    assert [(r["id"], r["entity"], r["amount"], r["terminal"]) for r in rows] == [
        ("007", "c1", 9.5, "t1"),
        ("8", "c1", 1.0, None),
    ]
