"""Numbers however they are spelled, alone and among others alike."""

from __future__ import annotations

import math
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sources.numeric import numbers


def read(*values: object) -> list[tuple[float | None, bool]]:
    """Return each number, and whether it is none."""
    found = numbers(pa.array(values))
    pairs = zip(found.values.to_pylist(), found.wrong.tolist(), strict=True)
    return [(None if wrong else value, wrong) for value, wrong in pairs]


TEXTS = st.one_of(
    st.floats().map(repr),
    st.integers().map(str),
    st.text(alphabet="0123456789+-.eExinfa() ", max_size=6),
    st.sampled_from(
        ["inf", "-Infinity", "nan", "NaN", "NAN", "nan(1)", "1e999", "0x1p3", "1_0", "1e", ".", "٣"]
    ),
)


@settings(max_examples=400, deadline=None)
@given(TEXTS, st.lists(TEXTS, max_size=3))
def test_a_number_is_read_alike_alone_and_among_others(text: str, others: list[str]) -> None:
    (alone,) = read(text)
    assert read(text, *others)[0] == alone
    assert read(text, "x", *others)[0] == alone
    value, wrong = alone
    if not wrong and value is not None:
        assert math.isfinite(value)
        assert value == float(text)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, None, 3], [(1.0, False), (None, False), (3.0, False)]),
        ([1.5, math.nan, math.inf], [(1.5, False), (None, False), (None, True)]),
        ([Decimal("1.25")], [(1.25, False)]),
        ([True], [(None, True)]),
        ([None], [(None, False)]),
        ([[1.0]], [(None, True)]),
    ],
)
def test_columns_of_any_type(values: list[object], expected: list[tuple[float | None, bool]]) -> None:
    assert read(*values) == expected
