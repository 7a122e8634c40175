"""Times of the week: what people write is what they mean, through midnight and through summer time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.hours import _checked, within

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


def at(day, clock):
    hour, minute = map(int, clock.split(":"))
    return MONDAY + timedelta(days=day, hours=hour, minutes=minute)


@pytest.mark.parametrize(
    ("text", "day", "clock", "inside"),
    [
        ("mon-fri 07:00-19:00", 0, "07:00", True),
        ("mon-fri 07:00-19:00", 0, "06:59", False),
        ("mon-fri 07:00-19:00", 0, "19:00", False),
        ("mon-fri 07:00-19:00", 5, "12:00", False),
        ("22:00-06:00", 3, "23:00", True),
        ("22:00-06:00", 3, "05:59", True),
        ("22:00-06:00", 3, "06:00", False),
        ("fri 22:00-06:00", 5, "03:00", True),  # the night that begins on Friday
        ("fri 22:00-06:00", 4, "03:00", False),
        ("sun 22:00-06:00", 0, "03:00", True),
        ("sat, sun", 6, "23:59", True),
        ("sat, sun", 0, "00:00", False),
        ("sat-mon 10:00-11:00", 0, "10:30", True),
        ("sat-mon 10:00-11:00", 1, "10:30", False),
        ("mon 00:00-24:00", 0, "23:59", True),
        ("MON 07:00-08:00, 20:00-21:00", 2, "20:30", True),
    ],
)
def test_times_of_the_week_hold_what_they_say(text, day, clock, inside):
    assert within(text, at(day, clock), "UTC") is inside


def test_they_follow_the_clock_of_the_zone_through_summer_time():
    winter, summer = datetime(2026, 3, 27, 6, 30, tzinfo=UTC), datetime(2026, 3, 30, 6, 30, tzinfo=UTC)
    assert within("07:00-08:00", winter, "Europe/Berlin")
    assert not within("07:00-08:00", summer, "Europe/Berlin"), "there it is 08:30"


@pytest.mark.parametrize(
    "text", ["", "x", "mon-", "7:00-8:00", "07:00", "07:00-07:00", "07:60-08:00", "24:00-01:00"]
)
def test_what_is_no_time_of_the_week_is_refused(text):
    with pytest.raises(ValueError, match="expected"):
        _checked(text)


@given(st.integers(0, 7 * 1440 - 1), st.integers(0, 1439), st.integers(0, 1439))
def test_a_time_lies_in_a_span_or_in_its_rest(minute, since, until):
    def clock(m):
        return f"{m // 60:02}:{m % 60:02}"

    if since == until:
        return
    moment = MONDAY + timedelta(minutes=minute)
    one, rest = f"{clock(since)}-{clock(until)}", f"{clock(until)}-{clock(since)}"
    assert within(one, moment, "UTC") is not within(rest, moment, "UTC")
