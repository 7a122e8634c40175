"""Rejects of one format read again as another: nothing is raised, nothing lost, nothing taken twice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.sources import reparse
from pipeline.sources.rejects import RAW_LIMIT
from tests.sources.payloads.kit import read, rows, stream
from tests.sources.payloads.tahu import AT, metric, payload

FAST = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
DATA = "spBv1.0/plant/DDATA/line1/pump7"
NOW: dict[str, Any] = {
    "json": stream({"format": "json"}, entity="$key"),
    "csv": stream({"format": "csv", "columns": ["time", "a", "b"]}, entity="$key"),
    "sparkplug": stream({"format": "sparkplug"}, entity="$device", time={"column": "$timestamp"}),
}


@FAST
@given(st.lists(st.binary(max_size=40), max_size=4), st.sampled_from(sorted(NOW)))
def test_any_reject_is_read_again_by_any_format_and_stays_where_it_is_none(
    payloads: list[bytes], kind: str
) -> None:
    first = read(None, NOW["json"], [(DATA, p) for p in payloads], beside={"$key": "k"})
    assert first.received == len(payloads)
    again = reparse(NOW[kind], first.rejects)
    assert again.received == len(again.records) + len(again.rejects)
    if kind == "json":
        assert again.rejects["reject"].to_pylist() == first.rejects["reject"].to_pylist()
    assert (
        reparse(NOW[kind], again.rejects).rejects["reject"].to_pylist() == again.rejects["reject"].to_pylist()
    )


@pytest.mark.parametrize(
    ("kind", "sent", "values"),
    [
        ("csv", b"1767225600,1,2\n1767225601,3,4\n", [("k", 1, 2), ("k", 3, 4)]),
        ("sparkplug", payload(metric("a", 5.0, "Double"), timestamp=AT), [("line1/pump7", 5, None)]),
        ("json", b'{"time": 1767225600, "a": 7}', [("k", 7, None)]),
    ],
)  # fmt: skip
def test_a_payload_that_was_taken_for_another_is_read_whole(
    kind: str, sent: bytes, values: list[Any]
) -> None:
    """What came beside it comes again, and bytes at its ends that look like spaces are still there."""
    wrong = NOW["sparkplug" if kind == "json" else "json"]
    decode = None
    if kind == "json":
        from pipeline.sources.payloads.sparkplug import Sparkplug

        decode = Sparkplug(["a", "b"])
    first = read(decode, wrong, [(DATA, sent)], beside={"$key": "k"})
    assert first.rejects["raw"].to_pylist() == [sent]
    again = reparse(NOW[kind], first.rejects)
    assert [(r["entity"], r["c0"], r["c1"]) for r in again.records.to_pylist()] == values
    assert not len(again.rejects)


def test_a_payload_that_was_cut_is_never_read_as_a_whole() -> None:
    first = read(None, NOW["json"], [(DATA, b"1767225600,1,2\n" * (RAW_LIMIT // 10))])
    assert not rows(first)
    again = reparse(NOW["csv"], first.rejects)
    assert (len(again.records), again.rejects["reject"]) == (0, first.rejects["reject"])
