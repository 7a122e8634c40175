"""JSON Lines: an object a line, and what is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.sources.kit import drain, sensor, transactions, write

GOOD = {"time": "2026-01-01T00:00:00Z", "machine": "p1", "a": 1.5, "b": 2}


def lines(*rows: Any) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def test_objects_become_records_and_other_keys_are_not_read(tmp_path: Path) -> None:
    write(tmp_path / "f.jsonl", "\ufeff" + lines(GOOD, {**GOOD, "nested": {"x": [1]}}))
    read = drain(sensor(tmp_path))
    assert [(r["entity"], r["a"], r["b"]) for r in read.rows] == [("p1", 1.5, 2.0)] * 2


def test_a_channel_left_out_is_a_gap(tmp_path: Path) -> None:
    short = {k: v for k, v in GOOD.items() if k != "a"}
    write(
        tmp_path / "f.ndjson",
        lines(
            GOOD, short, {**GOOD, "a": None}, '{"a": NaN, ' + json.dumps(GOOD)[1:].replace('"a": 1.5, ', "")
        ),
    )
    assert [r["a"] for r in drain(sensor(tmp_path)).rows] == [1.5, None, None, None]


def test_numbers_as_text_and_names_as_numbers_are_understood(tmp_path: Path) -> None:
    rows = [{**GOOD, "machine": 7, "a": "1.5"}, {**GOOD, "machine": 7.0}, {**GOOD, "time": 1767225600}]
    write(tmp_path / "f.jsonl", lines(*rows))
    assert [r["entity"] for r in drain(sensor(tmp_path)).rows] == ["7", "7", "p1"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON: "),
        ("[" * 100_000, "not JSON that can be read: nested too deeply"),
        ("[1]", "[1] is no record; expected a JSON object"),
        ("3", "3 is no record; expected a JSON object"),
        ('{"a": 1, "a": 2}', "not JSON: a key is there twice"),
        ('{"a": ' + "9" * 5000 + "}", "not JSON: "),
        (json.dumps({**GOOD, "a": [1]}), "a: [1] is no number"),
        (json.dumps({**GOOD, "a": True}), "a: true is no number"),
        (json.dumps({**GOOD, "machine": {"x": 1}}), 'machine: {"x": 1} is no name'),
        (json.dumps({**GOOD, "machine": "\ud800"}), 'machine: "\\ud800" is no name'),
        (json.dumps({**GOOD, "machine": 1.5}), "machine: '1.5'"),
        (json.dumps({**GOOD, "a": float("inf")}), "a: 'inf' is not a finite number"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "time"}), "time: missing"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "machine"}), "machine: missing"),
    ],
)
def test_a_line_that_is_no_record_loses_no_other(tmp_path: Path, line: str, reason: str) -> None:
    write(tmp_path / "f.jsonl", lines(GOOD, line, GOOD))
    read = drain(sensor(tmp_path))
    if reason == "machine: '1.5'":
        assert [r["entity"] for r in read.rows] == ["p1", "1.5", "p1"]
        return
    assert len(read.rows) == 2
    assert len(read.reasons) == 1
    assert read.reasons[0].startswith(reason)


def test_bytes_that_are_no_text_are_rejected(tmp_path: Path) -> None:
    write(tmp_path / "f.jsonl", b'{"time": "\xff"}\n')
    assert drain(sensor(tmp_path)).reasons == ["byte 0xff at 10 is not UTF-8; expected UTF-8 text"]


def test_transactions(tmp_path: Path) -> None:
    rows = [{"id": i, "card": 5, "time": 1767225600 + i, "amount": i, "terminal": None} for i in range(5)]
    write(tmp_path / "f.jsonl", lines(*rows))
    assert [r["id"] for r in drain(transactions(tmp_path)).rows] == ["0", "1", "2", "3", "4"]
