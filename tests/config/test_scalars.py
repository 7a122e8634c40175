"""Durations, rates, schedules, zones and times: what is taken means one thing, what is not says why."""

from datetime import UTC, datetime, timedelta

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.models import format_duration, parse_duration, parse_schedule, parse_time
from pipeline.config.scalars import Rate, check_time, check_zone, format_patience, parse_patience
from pipeline.config.schedule import PRESETS, check_cron


@given(st.integers(0, 10**15).map(lambda n: timedelta(microseconds=n)))
def test_a_duration_written_is_the_duration_read(value: timedelta) -> None:
    text = format_duration(value)
    if len(text) <= 12:
        assert parse_duration(text) == value


@pytest.mark.parametrize(
    "text", ["", "5", "m", "5 m", "5M", "-5m", "5m\n", "٥m", "1e3s", "9" * 400 + "w", 5, None, True]
)
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


def test_a_duration_has_an_end() -> None:
    with pytest.raises(ValueError, match="at most 100 years"):
        parse_duration("999999999w")


@pytest.mark.parametrize(
    "text", ["1", "1/fortnight", "0/day", "-1/day", "1 / day", "1/day\n", "٣/day", 3, None]
)
def test_what_is_no_rate_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="expected a rate"):
        Rate.parse(text)


def test_a_rate_is_so_many_in_so_long() -> None:
    assert Rate.parse("7/week").per_second == pytest.approx(1 / 86400)
    assert str(Rate.parse("0.5/hour")) == "0.5/hour"


@pytest.mark.parametrize(
    "zone", ["", "Mars/Base", "../etc/passwd", "/etc/passwd", "Europe", "UTC\0", "x" * 500]
)
def test_what_is_no_zone_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match="IANA"):
        check_zone(zone)


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "2026-02-29", "", "0001-01-01T00:00+14:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="ISO 8601"):
        check_time(text)


def test_a_time_without_an_offset_is_utc() -> None:
    assert parse_time("2026-03-01") == datetime(2026, 3, 1, tzinfo=UTC)
    assert parse_time("2026-03-01T01:00+01:00") == datetime(2026, 3, 1, tzinfo=UTC)


def test_a_schedule_is_a_cron_line_a_duration_or_never() -> None:
    assert parse_schedule("never") is None
    assert parse_schedule("5m") == timedelta(minutes=5)
    assert parse_schedule("0 3 * * mon-fri") == "0 3 * * mon-fri"
    assert all(parse_schedule(p) == p for p in PRESETS)


@pytest.mark.parametrize(
    "text", ["", "daily", "@reboot", "0s", "1s", "5", "* * * *", "* * * * * *", "60 * * * *"]
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_schedule(text)


BAD_CRON = [
    "0 24 * * *", "0 0 0 * *", "0 0 * 13 *", "0 0 * * 8", "5-1 * * * *", "*/0 * * * *", "*/90 * * * *",
    "a * * * *", "0 0 * foo *", "0 0 31 2 *", "0 0 31 4,6 *", "1,,2 * * * *", "?? * * * *", "-1 * * * *",
    "5/15 * * * *", "٣ * * * *", "0 0 l * *",
]  # fmt: skip


@pytest.mark.parametrize("text", BAD_CRON)
def test_a_wrong_cron_line_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        check_cron(text)


def field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda p: f"{min(p)}-{max(p)}")
    step = st.integers(1, high).map(lambda n: f"*/{n}")
    return st.one_of(st.just("*"), number.map(str), span, step, st.lists(number, min_size=1, max_size=3).map(
        lambda ns: ",".join(map(str, ns))))  # fmt: skip


lines = st.tuples(field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 6)).map(" ".join)


@settings(max_examples=200, deadline=None)
@given(lines)
def test_every_cron_line_taken_here_is_taken_by_airflow_and_comes(line: str) -> None:
    try:
        check_cron(line)
    except ValueError:
        assert line.split()[4] == "*", "only a day that never comes may be refused"
        return
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert croniter(line, start).get_next(datetime) > start


@pytest.mark.parametrize("text", ["auto", "never", "30m", "1d"])
def test_a_patience_written_is_the_patience_read(text: str) -> None:
    assert format_patience(parse_patience(text)) == text


@pytest.mark.parametrize("text", ["", "Auto", "0s", "-5m", "soon", None, True, 5])
def test_what_is_no_patience_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="expected auto, never, or a duration such as 30m"):
        parse_patience(text)
