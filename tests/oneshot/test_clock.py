"""Time is read however it is written, and rows are laid on the grid that fits them."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import DataError
from pipeline.oneshot.clock import clock, fit_grid

HOUR = 1_767_225_600  # 2026-01-01
SAME = np.zeros(3, np.int64)


def read(values, entity=SAME):
    return clock(pa.table({"t": values}), "t", entity)


@pytest.mark.parametrize(
    "written",
    [
        pa.array([HOUR, HOUR + 60, HOUR + 120]),
        pa.array([HOUR * 1000, HOUR * 1000 + 60_000, HOUR * 1000 + 120_000]),
        pa.array([HOUR * 10**6, (HOUR + 60) * 10**6, (HOUR + 120) * 10**6]),
        pa.array([HOUR * 10**9, (HOUR + 60) * 10**9, (HOUR + 120) * 10**9]),
        pa.array([float(HOUR), HOUR + 60.0, HOUR + 120.0]),
        pa.array(["2026-01-01T00:00:00Z", "2026-01-01 00:01:00", "2026-01-01T01:02:00+01:00"]),
        pa.array(["2026-01-01 00:00", "2026-01-01 00:01", "2026-01-01 00:02"]).dictionary_encode(),
        pa.array([HOUR * 1000, HOUR * 1000 + 60_000, HOUR * 1000 + 120_000], pa.timestamp("ms")),
        pa.array([HOUR, HOUR + 60, HOUR + 120], pa.timestamp("s", "Europe/Berlin")),
        pa.array([HOUR * 10**9, (HOUR + 60) * 10**9, (HOUR + 120) * 10**9], pa.timestamp("ns")),
    ],
)
def test_a_moment_is_the_same_however_it_is_written(written):
    found = read(written)
    assert found.real
    assert (np.asarray(found.value, float) * found.micros).tolist() == [
        (HOUR + 60 * i) * 1e6 for i in range(3)
    ]
    grid = fit_grid(found, SAME)
    assert grid.step == timedelta(minutes=1)
    assert grid.time.tolist() == [(HOUR + 60 * i) * 10**6 for i in range(3)]
    assert found.read("2026-01-01T00:01", "--train-until") * found.micros == (HOUR + 60) * 1e6


def test_a_counter_is_no_date():
    found = read(pa.array([0, 5, 10]))
    assert not found.real
    assert fit_grid(found, SAME).cell.tolist() == [0, 1, 2]
    assert found.read("5", "--train-from") == 5
    with pytest.raises(DataError, match="is no number"):
        found.read("2026-01-01", "--train-from")


def test_a_bare_number_is_no_moment_of_a_column_of_times():
    with pytest.raises(DataError, match="--train-from: '12' is no time"):
        read(pa.array([1, 2, 3], pa.timestamp("s"))).read("12", "--train-from")


def test_without_a_column_rows_are_counted_within_their_entity():
    entity = np.array([0, 1, 0, 1, 1])
    assert clock(pa.table({"x": entity}), None, entity).value.tolist() == [0, 0, 1, 1, 2]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (pa.array([1, None, 3]), "t is missing in 1 rows, row 2 for one"),
        (pa.array(["2026-01-01", "soon", "2026-01-02"]), "'soon' in row 2"),
        (pa.array([1.0, 2.0, float("nan")]), "no finite number in row 3"),
        (pa.array([True, False, True]), "true and false"),
        (pa.array([[1], [2], [3]]), "expected ISO 8601"),
    ],
)
def test_a_time_that_is_none_is_told_with_its_row(values, words):
    with pytest.raises(DataError, match=words):
        read(values)


def test_rows_of_one_time_alone_ask_for_another_column():
    with pytest.raises(DataError, match="leave --time out"):
        fit_grid(read(pa.array([4, 4, 4])), SAME)


@given(
    st.integers(1, 10**7),
    st.integers(-(10**12), 10**12),
    st.integers(2, 60),
    st.sampled_from(["s", "us", "ns"]),
)
def test_exactly_regular_rows_have_a_cell_each(step, start, rows, unit):
    table = pa.table({"t": pa.array(start + step * np.arange(rows), pa.timestamp(unit))})
    none = np.zeros(rows, np.int64)
    grid = fit_grid(clock(table, "t", none), none)
    assert np.diff(grid.cell).tolist() == [1] * (rows - 1)


def test_jitter_costs_no_row_its_cell_and_a_gap_stays_a_gap():
    rng = np.random.default_rng(0)
    at = np.arange(5000) * 1000 + rng.integers(-200, 200, 5000)
    at[2000:] += 50_000
    grid = fit_grid(clock(pa.table({"t": at}), "t", np.zeros(5000, np.int64)), np.zeros(5000, np.int64))
    steps = np.diff(grid.cell)
    assert steps[1999] in (50, 51, 52)
    assert set(np.delete(steps, 1999).tolist()) == {1}


def test_irregular_rows_share_cells_in_time_order():
    at = np.cumsum(np.random.default_rng(0).exponential(100, 3000))
    grid = fit_grid(clock(pa.table({"t": at}), "t", np.zeros(3000, np.int64)), np.zeros(3000, np.int64))
    assert (np.diff(grid.cell) >= 0).all()
    step = grid.step.total_seconds()
    assert np.abs(grid.cell * step - at).max() <= step * 1.01


def test_order_and_repeats_do_not_matter():
    at = np.concatenate([np.arange(100), np.arange(50)]) * 60
    mixed = np.random.default_rng(2).permutation(150)
    none = np.zeros(150, np.int64)
    grid, again = (fit_grid(clock(pa.table({"t": t}), "t", none), none) for t in (at, at[mixed]))
    assert grid.cell[mixed].tolist() == again.cell.tolist()
    assert len(np.unique(grid.cell)) == 100


def test_times_before_1970_and_far_ahead_are_times():
    years = [
        datetime(1931, 5, 1, tzinfo=UTC),
        datetime(1931, 5, 2, tzinfo=UTC),
        datetime(2250, 5, 3, tzinfo=UTC),
    ]
    grid = fit_grid(read(pa.array(years, pa.timestamp("us", "UTC"))), SAME)
    assert grid.step == timedelta(days=1)
    assert grid.cell[1] - grid.cell[0] == 1
