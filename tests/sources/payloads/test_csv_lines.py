"""CSV in messages: one line or many, columns of the YAML or of a header; a bad line costs no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.sources import reparse
from pipeline.sources.payloads import Decoder, decoder
from tests.sources.payloads.kit import read, reasons, rows, stream

FAST = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
COLUMNS = ("time", "machine", "a", "b")
NAMED: dict[str, Any] = {"format": "csv", "columns": COLUMNS}
HEADED: dict[str, Any] = {"format": "csv"}


def made(source: dict[str, Any], **more: Any) -> Decoder:
    found = decoder(stream(source, **more), Path("/"))
    assert found is not None
    return found


def values(source: dict[str, Any], *payloads: bytes) -> list[tuple[Any, ...]]:
    found = rows(read(made(source), stream(source), payloads))
    return [(r["entity"], r["c0"], r["c1"]) for r in found]


def test_a_payload_is_a_line_or_many() -> None:
    lines = [b"1767225600,p1,1,2", b"1767225601,p1,3,\r\n1767225602,p2,4.5e1,-6\n\n", b'1767225603,"p,3",7,8']
    assert values(NAMED, *lines) == [("p1", 1, 2), ("p1", 3, None), ("p2", 45, -6), ("p,3", 7, 8)]


def test_without_columns_in_the_yaml_each_payload_begins_with_its_own() -> None:
    one = b"\xef\xbb\xbftime,machine,a,b\n1767225600,p1,1,2\n1767225601,p1,3,4\n"
    other = b"b,extra,machine,time\n5,x,p2,1767225602"
    assert values(HEADED, one, other) == [("p1", 1, 2), ("p1", 3, 4), ("p2", None, 5)]


def test_a_field_may_hold_line_breaks_and_quotes() -> None:
    assert values(NAMED, b'1767225600,"p\n""1""",1,2\n1767225601,p2,3,4') == [('p\n"1"', 1, 2), ("p2", 3, 4)]


def test_another_delimiter_separates_fields() -> None:
    assert values({**NAMED, "delimiter": ";"}, b"1767225600;p,1;1;2") == [("p,1", 1, 2)]


@pytest.mark.parametrize(
    "cell", ["NaN", "", "NA", " 4 ", "+3", "1_0", "0x10", "1e999", "warm", "01", ".5", "nan"]
)
def test_a_cell_means_what_it_means_in_a_file(cell: str, tmp_path: Path) -> None:
    from tests.sources.kit import drain, sensor, write

    write(tmp_path / "f.csv", f"time,machine,a,b\n1767225600,p1,{cell},2\n")
    file = drain(sensor(tmp_path))
    message = read(made(NAMED), stream(NAMED), [f"1767225600,p1,{cell},2".encode()])
    assert [(r["c0"], r["c1"]) for r in rows(message)] == [(r["a"], r["b"]) for r in file.rows]
    assert reasons(message) == file.reasons


@pytest.mark.parametrize("source", [NAMED, HEADED])
def test_a_bad_line_is_a_reject_that_can_be_read_again_and_costs_no_other(source: dict[str, Any]) -> None:
    header = b"" if source is NAMED else b"time,machine,a,b\n"
    lines = [
        b"1767225600,p1,1,2",
        b"1767225601,p1,1",
        b"\xff,p1,1,2",
        b"1767225602,p1,warm,2",
        b"1767225603,p1,3,4",
    ]
    found = read(made(source), stream(source), [header + b"\n".join(lines)], beside={"$topic": "t"})
    assert [r["c0"] for r in rows(found)] == [1, 3]
    short, bytes_, warm = found.rejects.to_pylist()
    assert short["reason"] == "3 fields; expected 4: time, machine, a, b"
    assert bytes_["reason"] == "byte 0xff at 0 is not UTF-8; expected UTF-8 text"
    assert warm["reason"] == "a: 'warm' is not a finite number"
    assert [short["raw"], bytes_["raw"]] == [header + lines[1], header + lines[2]]
    assert (short["header"], warm["header"]) == ('{"$topic": "t"}', None)


def test_lines_are_read_again_by_the_columns_of_today() -> None:
    short = {**NAMED, "columns": ("time", "machine", "a")}
    found = read(made(short, channels=["a"]), stream(short, ["a"]), [b"1767225600,p1,1,2\n1767225601,p1,x,4"])
    assert reasons(found) == ["4 fields; expected 3: time, machine, a"] * 2
    again = reparse(stream(NAMED), found.rejects)
    assert [(r["c0"], r["c1"]) for r in again.records.to_pylist()] == [(1, 2)]
    assert again.rejects["reason"].to_pylist() == ["a: 'x' is not a finite number"]
    assert json.loads(again.rejects["raw"][0].as_py())["b"] == 4.0


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "is empty; expected lines of CSV"),
        (b"\r\n\n", "is empty; expected lines of CSV"),
        (b"time,a,a\n1,2,3", "'a': several columns of that name in the header; expected one"),
    ],
)
def test_a_payload_that_holds_no_lines_is_one_reject(payload: bytes, reason: str) -> None:
    found = read(made(HEADED), stream(HEADED), [payload])
    assert (reasons(found), found.rejects["raw"][0].as_py()) == ([reason], payload)


def test_a_header_alone_is_nothing() -> None:
    assert read(made(HEADED), stream(HEADED), [b"time,machine,a,b\n"]).received == 0


def test_columns_that_the_fields_need_are_named() -> None:
    with pytest.raises(
        ConfigError, match=r"source.columns: no column b, which the fields need; expected time, a"
    ):
        made({"format": "csv", "columns": ["time", "a", "machine"]})


CELLS = st.sampled_from(
    [b"1767225600", b"p1", b"1", b"", b'"', b'"a\nb"', b'a"b', b"\xff", b"\r", b"nan", b"x" * 300]
)
LINES = st.lists(CELLS, min_size=1, max_size=5).map(b",".join)
PAYLOADS = st.lists(LINES, max_size=6).map(b"\n".join) | st.binary(max_size=80)


READERS = {name: (made(source), stream(source)) for name, source in (("named", NAMED), ("headed", HEADED))}


@FAST
@given(PAYLOADS, st.sampled_from(sorted(READERS)))
def test_any_bytes_are_records_or_rejects(payload: bytes, name: str) -> None:
    decode, of = READERS[name]
    found = read(decode, of, [payload])
    assert found.records == read(decode, of, [payload]).records
    plain = b'"' not in payload and not payload.startswith(b"\xef\xbb\xbf")
    if name == "named" and plain:
        lines = [line for line in payload.split(b"\n") if line.rstrip(b"\r")]
        assert found.received == max(1, len(lines))
