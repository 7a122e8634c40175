"""What breaks the schema is rejected, and the reason says field, value and what was expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.sources.kit import HEADER, drain, sensor, transactions, write

CHANNELS: list[dict[str, Any]] = [{"name": "a", "min": 0, "max": 10}, {"name": "b"}]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (",p1,1,2", "time: missing; expected ISO 8601, or a number of s, ms, us or ns since 1970"),
        ("x,p1,1,2", "time: 'x' is not a time; expected ISO 8601, or a number of s, ms, us or ns since 1970"),
        ("2026-13-01,p1,1,2", "time: '2026-13-01' is not a time"),
        ("2026-02-29,p1,1,2", "time: '2026-02-29' is not a time"),
        ("1969-12-31,p1,1,2", "time: '1969-12-31' is before 1970"),
        ("2026-03-02T00:00:01Z,p1,1,2", "is in the future, more than a day after 2026-03-01T00:00Z"),
        ("2026-01-01,,1,2", "machine: missing; expected text"),
        ("2026-01-01,  ,1,2", "machine: missing; expected text"),
        (f"2026-01-01,{'p' * 257},1,2", "is no name; expected text of at most 256 characters"),
        ("2026-01-01,p\0,1,2", "machine: 'p\\x00' is no name"),
        ("2026-01-01,p1,x,2", "a: 'x' is not a finite number"),
        ("2026-01-01,p1,inf,2", "a: 'inf' is not a finite number"),
        ("2026-01-01,p1,1e999,2", "a: '1e999' is not a finite number"),
        ('2026-01-01,p1,"1,5",2', "a: '1,5' is not a finite number"),
        ("2026-01-01,p1,-0.1,2", "a: '-0.1' is below 0, the least it can be"),
        ("2026-01-01,p1,10.1,2", "a: '10.1' is above 10, the most it can be"),
        ("2026-01-01,p1,,NaN", "every channel is missing; expected at least one reading"),
    ],
)
def test_a_sensor_record_that_breaks_the_schema(tmp_path: Path, line: str, reason: str) -> None:
    write(tmp_path / "f.csv", HEADER + "2026-01-01,p1,0,2\n" + line + "\n")
    read = drain(sensor(tmp_path, CHANNELS))
    assert len(read.rows) == 1
    assert len(read.reasons) == 1
    assert reason in read.reasons[0]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (",c1,2026-01-01,1,t", "id: missing; expected text"),
        ("1,,2026-01-01,1,t", "card: missing; expected text"),
        ("1,c1,2026-01-01,,t", "amount: missing; expected a number"),
        ("1,c1,2026-01-01,nan,t", "amount: missing; expected a number"),
        ("1,c1,2026-01-01,-inf,t", "amount: '-inf' is not a finite number"),
    ],
)
def test_a_transaction_that_breaks_the_schema(tmp_path: Path, line: str, reason: str) -> None:
    write(tmp_path / "f.csv", f"id,card,time,amount,terminal\n{line}\n")
    assert drain(transactions(tmp_path)).reasons == [reason]


@pytest.mark.parametrize("missing", ["", "NaN", "nan", "NA", "null", "None", "N/A", "\\N", "  "])
def test_one_missing_channel_is_a_gap_not_a_reject(tmp_path: Path, missing: str) -> None:
    write(tmp_path / "f.csv", HEADER + f"2026-01-01,p1,{missing},2\n")
    (row,) = drain(sensor(tmp_path)).rows
    assert (row["a"], row["b"]) == (None, 2.0)


def test_names_that_look_like_missing_numbers_are_names(tmp_path: Path) -> None:
    write(tmp_path / "f.csv", HEADER + "2026-01-01,NA,1,2\n")
    assert drain(sensor(tmp_path)).rows[0]["entity"] == "NA"


def test_the_first_thing_wrong_is_the_reason(tmp_path: Path) -> None:
    write(tmp_path / "f.csv", HEADER + "x,,y,z\n")
    assert drain(sensor(tmp_path)).reasons == ["machine: missing; expected text"]


def test_long_values_are_shortened_in_reasons(tmp_path: Path) -> None:
    write(tmp_path / "f.csv", HEADER + f"2026-01-01,p1,{'9x' * 500},2\n")
    assert len(drain(sensor(tmp_path)).reasons[0]) < 120
