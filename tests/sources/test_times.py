"""Times however they are written, vectorised and one by one alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.models import TimeField
from pipeline.sources.times import TimeReader

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENT = datetime(2026, 1, 1, 12, 30, 15, tzinfo=UTC)


def read(values: list[object] | pa.Array, form: str = "auto", timezone: str = "UTC") -> list[datetime | None]:
    column = values if isinstance(values, pa.Array) else pa.array(values)
    times = TimeReader(TimeField(format=form, timezone=timezone)).read(column)  # type: ignore[arg-type]
    gone = times.missing | times.wrong
    return [
        None if g else EPOCH + timedelta(microseconds=int(t)) for t, g in zip(times.micros, gone, strict=True)
    ]


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01T12:30:15Z", "2026-01-01 12:30:15", "2026-01-01T12:30:15.000000",
        "2026-01-01T13:30:15+01:00",
        "2026-01-01T13:30:15+0100", "2026-01-01T13:30:15+01", "2026-01-01 12:30:15 UTC",
        "2026-01-01 12:30:15z",
        "2026-01-01 13:30:15 +01:00", "2026-01-01T12:30:15.000000999Z", " 2026-01-01T12:30:15Z ",
        "2026-01-01T12:30:15,0", "1767270615", "1767270615000", "1767270615000000", "1767270615000000000",
        "1767270615.0", "+1767270615", "1.767270615e9",
    ],
)  # fmt: skip
def test_every_spelling_is_the_same_moment(text: str) -> None:
    assert read([text]) == [MOMENT]
    assert read([text, "x"]) == [MOMENT, None]


@pytest.mark.parametrize(
    "text",
    ["2026-1-1", "20260101", "2026-02-30", "2026-01-01T25:00", "0x10", "x", "٢٠٢٦-01-01", "1e30", "9" * 30,
     "2026-01-01T12:30:15 1", "2026-W01-1", "0000-01-01", "2026-01-01T12:30:60", "inf", "-",
     "2026-01-01x00:00"],
)  # fmt: skip
def test_what_is_no_time_is_none(text: str) -> None:
    assert read([text]) == [None]
    assert read([text, "2026-01-01T12:30:15Z", "1767270615"]) == [None, MOMENT, MOMENT]


@pytest.mark.parametrize(
    ("form", "value"),
    [("s", "1767270615"), ("ms", "1767270615000"), ("us", "1767270615000000"), ("ns", "1767270615000000000")],
)
def test_a_format_is_taken_at_its_word(form: str, value: str) -> None:
    assert read([value], form) == [MOMENT]
    assert read([int(value)], form) == [MOMENT]
    assert read(["2026-01-01T12:30:15Z"], form) == [None]
    assert read([value], "iso8601") == [None]


def test_typed_columns() -> None:
    naive = MOMENT.replace(tzinfo=None)
    for unit in ("s", "ms", "us", "ns"):
        assert read(pa.array([naive, None], pa.timestamp(unit))) == [MOMENT, None]
        assert read(pa.array([MOMENT], pa.timestamp(unit, "Europe/Berlin"))) == [MOMENT]
    assert read(pa.array([naive.date()])) == [datetime(2026, 1, 1, tzinfo=UTC)]
    assert read(pa.array([1767270615.25])) == [MOMENT + timedelta(milliseconds=250)]
    assert read(pa.array([10**17], pa.timestamp("s"))) == [None]
    assert read(pa.array([True])) == [None]
    assert read(pa.array(["2026-01-01T12:30:15Z"]).dictionary_encode().dictionary_decode()) == [MOMENT]


def test_clocks_set_back_mean_the_earlier_time_and_skipped_times_are_none() -> None:
    berlin = "Europe/Berlin"
    back, skipped = "2025-10-26T02:30:00", "2025-03-30T02:30:00"
    earlier = datetime(2025, 10, 26, 0, 30, tzinfo=UTC)
    assert read([back], timezone=berlin) == read([back, "x"], timezone=berlin)[:1] == [earlier]
    assert read([skipped], timezone=berlin) == [None]
    assert read([skipped, back], timezone=berlin) == [None, earlier]
    assert read(pa.array([datetime(2025, 3, 30, 2, 30)], pa.timestamp("us")), timezone=berlin) == [None]
    assert read(["2025-10-26T02:30:00+01:00"], timezone=berlin) == [earlier + timedelta(hours=1)]


def test_leap_days() -> None:
    assert read(["2024-02-29", "2023-02-29"]) == [datetime(2024, 2, 29, tzinfo=UTC), None]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.datetimes(datetime(1960, 1, 1), datetime(2100, 1, 1)).map(lambda t: t.isoformat()),
            st.datetimes(datetime(1960, 1, 1), datetime(2100, 1, 1)).map(
                lambda t: t.isoformat(" ") + "+02:00"
            ),
            st.integers(-(10**19), 10**19).map(str),
            st.integers(10**18, 10**19).map(lambda i: f"00{i}"),
            st.floats().map(repr),
            st.from_regex(
                r"\d{4}-[01]\d-[0-3]\d([T ][0-2]\d(:[0-6]\d(:[0-6]\d(\.\d{1,9})?)?)?)?(Z|[+-]\d\d)?",
                fullmatch=True,
            ),
        ),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns"]),
)
def test_a_value_is_read_alike_whatever_stands_beside_it(values: list[str], zone: str) -> None:
    reader = TimeReader(TimeField(timezone=zone))

    def micros(*texts: str) -> list[tuple[int, bool]]:
        times = reader.read(pa.array(texts))
        return list(zip(times.micros.tolist(), times.wrong.tolist(), strict=True))

    alone = [micros(value)[0] for value in values]
    assert micros(*values) == alone
    assert micros(*values, "x") == [*alone, (0, True)]


def test_masks_are_disjoint() -> None:
    times = TimeReader(TimeField()).read(pa.array(["", "x", "2026-01-01", None]))
    assert times.missing.tolist() == [True, False, False, True]
    assert times.wrong.tolist() == [False, True, False, False]
    assert not np.any(times.missing & times.wrong)
