"""Names, numbers and times as people read them, safe whatever they hold."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.alerts.text import about, clean, measured, moment, number, span


@given(st.text(max_size=400), st.integers(2, 120))
def test_whatever_a_name_holds_it_becomes_one_printable_line(text, limit):
    line = clean(text, limit)
    assert len(line) <= limit
    assert not any(unicodedata.category(c)[0] == "C" or c in "\n\r\t\v\f\u2028\u2029\x85" for c in line)


def test_a_plain_name_stays_as_it_is():
    assert clean("Größe 7/ß – 泵") == "Größe 7/ß – 泵"
    assert clean("x" * 10_000, 20) == "x" * 19 + "…"
    assert clean("a\u202eb\x1b[31m\x00c") == "a\ufffdb\ufffd[31m\ufffdc"


@pytest.mark.parametrize(
    ("value", "unit", "written"),
    [
        (9.1, "mm/s", "9.1 mm/s"),
        (912.0, "EUR", "912.00 EUR"),
        (1234567.891, "USD", "1,234,567.89 USD"),
        (998.44444, "hPa", "998.4 hPa"),
        (12345.678, "", "12,346"),
        (0.00012345, "m", "0.0001234 m"),
        (0.0, "A", "0 A"),
        (-3.0, "°C", "-3 °C"),
        (1.5e-9, "", "1.5e-09"),
        (float("nan"), "", "?"),
        (float("-inf"), "V", "? V"),
        (100.0, "%", "100 %"),
        (9999.99, "", "10,000"),
    ],
)
def test_numbers_are_as_exact_as_a_person_needs(value, unit, written):
    assert measured(value, unit) == written


@pytest.mark.parametrize(
    ("expected", "actual", "written"),
    [(38.42, 912.0, "38"), (2.3123, 9.1, "2.3"), (1013.25, 998.4, "1,013"), (0.0, 5.0, "0"), (5.0, 5.0, "5")],
)
def test_an_expectation_claims_two_digits_or_what_tells_it_from_the_measured(expected, actual, written):
    assert about(expected, actual) == written


@given(st.floats(), st.floats())
def test_any_number_can_be_written(value, other):
    assert number(value)
    assert number(value, "EUR")
    assert about(value, other)


def test_times_are_utc_and_without_their_date_on_the_day_they_are_seen():
    at = datetime(2026, 3, 1, 3, 12, tzinfo=UTC)
    assert moment(at) == "2026-03-01 03:12 UTC"
    assert moment(at, seen=at + timedelta(hours=20)) == "03:12 UTC"
    assert moment(at, seen=at + timedelta(hours=21)) == "2026-03-01 03:12 UTC"


def test_a_length_of_time_has_at_most_two_units():
    lengths = (0, 45, 720, 3600, 5400, 90061)
    written = ["0 s", "45 s", "12 min", "1 h", "1 h 30 min", "1 d 1 h"]
    assert [span(timedelta(seconds=s)) for s in lengths] == written
