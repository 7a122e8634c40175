"""Who made a row's score, as the scores table wants it."""

import time

import numpy as np
import pyarrow as pa

from pipeline.detect import contributions
from pipeline.schemas import CONTRIBUTION

NAN = np.nan


def test_the_largest_shares_come_first_with_units_and_gaps_are_null():
    share = np.array([[0.2, 0.5, 0.3], [NAN, NAN, NAN], [0.0, 1.0, 0.0]], np.float32)
    expected = np.array([[1.0, 2.0, NAN], [NAN] * 3, [4.0, 5.0, 6.0]])
    made = contributions(share, expected, expected + 10, ["a", "b", "c"], top=2)
    assert made.type == pa.list_(CONTRIBUTION)
    first, gap, last = made.to_pylist()
    assert [c["channel"] for c in first] == ["b", "c"]
    assert first[0] == {"channel": "b", "share": 0.5, "expected": 2.0, "actual": 12.0}
    assert first[1]["expected"] is None
    assert gap is None
    assert [c["channel"] for c in last] == ["b"]  # a channel that took no part is not named


def test_equal_shares_are_named_in_the_order_of_channels():
    (row,) = contributions(
        np.full((1, 4), 0.25), np.zeros((1, 4)), np.zeros((1, 4)), list("abcd")
    ).to_pylist()
    assert [c["channel"] for c in row] == ["a", "b", "c"]


def test_no_rows_and_only_gaps_still_have_the_type():
    for rows in (0, 3):
        empty = np.full((rows, 2), NAN)
        made = contributions(empty, empty, empty, ["a", "b"])
        made.validate(full=True)
        assert made.type == pa.list_(CONTRIBUTION)
        assert made.to_pylist() == [None] * rows


def test_the_input_is_left_alone():
    share = np.array([[0.2, 0.8]])
    contributions(share, share, share, ["a", "b"])
    assert share.tolist() == [[0.2, 0.8]]


def test_a_row_is_not_an_object():
    share = np.random.default_rng(0).random((200_000, 10)).astype(np.float32)
    start = time.perf_counter()
    made = contributions(share, share, share, [f"c{i}" for i in range(10)])
    assert time.perf_counter() - start < 5
    assert len(made) == 200_000
