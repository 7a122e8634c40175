"""Whatever the bytes: nothing is raised, nothing lost, and cuts change nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.sources import split
from tests.sources.kit import HEADER, Read, drain, sensor, transactions, write

FAST = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

TIMES = st.sampled_from(
    ["2026-01-01T00:00:00Z", "2026-01-01 00:00:01", "1767225600", "1767225600000", "x", "", "2030-01-01",
     "0x10", "0000-01-01", "0000-02-30", "1e17", "20260101.0",
     "2026-01-01T00:00:00.123456789Z", "20260101", "+1767225600", " 2026-01-01 ", "nan", "1e9", "1969-01-01"]
)  # fmt: skip
NUMBERS = st.sampled_from(
    [
        "1",
        "-2.5",
        "",
        "NaN",
        "nan",
        "NAN",
        "inf",
        "1e999",
        "x",
        "+3",
        " 4 ",
        "0x10",
        "1_0",
        "null",
        "nan(1)",
        ".5",
        "5.",
    ]
)
NAMES = st.sampled_from(
    ["p1", "", " p2 ", "é", "n\0l", "x" * 300, '"q"', '"a,b"', '"a\nb"', '"a""b"', 'a"b', '"a"b', '"']
)
ROWS = st.tuples(TIMES, NAMES, NUMBERS, NUMBERS).map(lambda cells: ",".join(cells).encode())
ODD = st.sampled_from([b"", b"\r", b"a\rb", b"\xff,1", b",,,", b'"', b'x,"y', b"1,2,3,4,5", b"\xef\xbb\xbf"])
LINES = st.lists(st.one_of(ROWS, ROWS, ROWS, ODD, st.binary(max_size=20)), max_size=30)
ENDINGS = st.sampled_from([b"\n", b"\r\n"])


def plain(read: Read) -> tuple[Any, Any]:
    rejects = read.rejects.drop_columns(["rejected_at", "date"]).to_pylist()
    return read.rows, rejects


def read_all(content: bytes, name: str, limit: int, *, cards: bool = False) -> Read:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name, content)
        stream = transactions(Path(folder)) if cards else sensor(Path(folder))
        return drain(stream, limit)


@FAST
@given(st.binary(max_size=400), st.sampled_from(["f.csv", "f.jsonl", "f.parquet", "f.csv.gz"]))
def test_any_bytes_are_read_or_rejected_but_never_raise(content: bytes, name: str) -> None:
    read_all(HEADER.encode() + content if name == "f.csv" else content, name, 100)


@FAST
@given(LINES, ENDINGS, st.integers(1, 7))
def test_csv_in_chunks_equals_csv_whole(lines: list[bytes], ending: bytes, limit: int) -> None:
    content = ending.join([HEADER.strip().encode(), *lines])
    assert plain(read_all(content, "f.csv", limit)) == plain(read_all(content, "f.csv", 1000))


@FAST
@given(LINES)
def test_each_line_is_read_alike_alone_and_among_others(lines: list[bytes]) -> None:
    kept = [line for line in lines if b"\n" not in line and b'"' not in line and line.strip()]
    together = read_all(b"\n".join([HEADER.strip().encode(), *kept]) + b"\n", "f.csv", 1000)
    alone = [read_all(HEADER.encode() + line + b"\n", "f.csv", 1000) for line in kept]
    assert together.rows == [row for read in alone for row in read.rows]
    assert together.reasons == [reason for read in alone for reason in read.reasons]


@FAST
@given(LINES)
def test_every_line_that_is_not_blank_is_received(lines: list[bytes]) -> None:
    kept = [line for line in lines if b"\n" not in line and b'"' not in line]
    read = read_all(b"\n".join([HEADER.strip().encode(), *kept]) + b"\n", "f.csv", 1000)
    assert read.received == sum(line not in (b"", b"\r") for line in kept)


@FAST
@given(LINES, ENDINGS)
def test_rejects_are_the_bytes_at_their_position(lines: list[bytes], ending: bytes) -> None:
    content = ending.join([HEADER.strip().encode(), *lines]) + b"\n"
    for row in read_all(content, "f.csv", 1000).rejects.to_pylist():
        assert content[row["position"] :].startswith(row["raw"])
        assert row["line"] == content[: row["position"]].count(b"\n") + 1


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
    st.sampled_from(["2026-01-01T00:00:00Z", 1767225600, 1767225600.5, "1.5", 12.0, [], {}, {"a": 1}]),
)  # fmt: skip
OBJECTS = st.fixed_dictionaries({}, optional=dict.fromkeys(["time", "machine", "a", "b", "other"], VALUES))


@FAST
@given(st.lists(OBJECTS, max_size=20), st.integers(1, 5))
def test_json_in_chunks_equals_json_whole(objects: list[dict[str, Any]], limit: int) -> None:
    import json

    content = "\n".join(map(json.dumps, objects)).encode() + b"\n"
    whole = read_all(content, "f.jsonl", 1000)
    assert plain(read_all(content, "f.jsonl", limit)) == plain(whole)
    assert whole.received == len(objects)


@FAST
@given(
    st.lists(st.sampled_from([b'"', b'""', b",", b"\n", b"\r\n", b"a", b'"a"', b'"\n"']), max_size=40).map(
        b"".join
    )
)
def test_records_end_in_the_same_places_however_they_are_found(content: bytes) -> None:
    content += b"\n"
    ends = split.lines(content)
    quick = split._by_parity(content, ends, b",", final=False)
    if quick is not None:
        assert quick.tolist() == split._one_by_one(content, b",", final=False).tolist()


@pytest.mark.parametrize("cut", range(0, 60, 7))
@pytest.mark.parametrize("content", ['1,"a\n",2\n3,"b""",4\n', '"x"y,"\n', "a,b\r\n\r\nc,d\n"])
def test_a_prefix_has_a_prefix_of_the_ends(content: str, cut: int) -> None:
    whole = split.records(content.encode(), b",", final=False).tolist()
    part = split.records(content.encode()[:cut], b",", final=False).tolist()
    assert part == whole[: len(part)]
