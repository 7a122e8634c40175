"""Promises of the sensor grid: a gap is not a zero, order does not matter, slices equal the whole."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BundleError, DataError, NotEnoughData
from pipeline.prepare import Windows, load_preparer, new_preparer

MINUTE = 60_000_000
ANY = st.floats(allow_nan=True, allow_infinity=True, width=64)
USUAL = st.floats(-100, 100)
quick = settings(max_examples=60, deadline=None)


@st.composite
def scattered(draw, values=USUAL, most=60):
    """Readings of two entities with jitter, bursts and gaps: entities, seconds, two channels."""
    count = draw(st.integers(1, most))
    gaps = draw(st.lists(st.sampled_from([1, 7, 20, 61, 130, 500, 3000]), min_size=count, max_size=count))
    names = draw(st.lists(st.sampled_from(["a", "b"]), min_size=count, max_size=count))
    column = st.lists(values, min_size=count, max_size=count)
    return names, np.cumsum(gaps) + 1_000_000, draw(column), draw(column)


def values_of(series, channel=0):
    return [round(float(v), 6) for v in series.actual[:, channel]]


def test_cells_are_anchored_at_the_epoch_and_labelled_by_their_start(make):
    table = make.readings("a", [59.9, 60.0, 119.9, 121], [1, 2, 4, 8])
    (series,) = new_preparer(make.sensor(1)).fit(table).transform(table)
    assert series.time.tolist() == [0, MINUTE, 2 * MINUTE]
    assert values_of(series) == [1, 3, 8]


@pytest.mark.parametrize(("how", "value"), [("mean", 3), ("last", 2), ("min", 1), ("max", 6)])
def test_readings_inside_a_cell_become_one_value_and_nan_is_not_a_reading(make, how, value):
    table = make.readings("a", [5, 1, 9, 7, 10], [6, 1, 2, np.nan, np.nan])
    (series,) = new_preparer(make.sensor(1, aggregate=how)).fit(table).transform(table)
    assert values_of(series) == [value]


def test_times_before_the_epoch_fall_into_their_own_cells(make):
    table = make.readings("a", [-61, -60, -1, 0], [1, 2, 4, 8])
    (series,) = new_preparer(make.sensor(1)).fit(table).transform(table)
    assert series.time.tolist() == [-2 * MINUTE, -MINUTE, 0]
    assert values_of(series) == [1, 3, 8]


def test_a_gap_is_held_for_a_few_steps_then_masked_and_never_a_zero(make):
    table = make.readings("a", [0, 60, 600], [5, 7, 6])
    (series,) = new_preparer(make.sensor(1, hold=2)).fit(table).transform(table)
    assert values_of(series)[:4] == [5, 7, 7, 7]
    assert np.isnan(series.actual[4:10]).all()
    assert series.mask[:, 0].tolist() == [True] * 4 + [False] * 6 + [True]
    assert (series.values[~series.mask] == 0).all()


def test_each_channel_is_held_on_its_own(make):
    table = make.readings("a", [0, 60, 120, 180], [1, np.nan, np.nan, np.nan], [1, 2, 3, 4])
    (series,) = new_preparer(make.sensor(2, hold=1)).fit(table).transform(table)
    assert series.mask.tolist() == [[True, True], [True, True], [False, True], [False, True]]


def test_a_record_in_which_nothing_was_measured_is_a_gap(make):
    table = make.readings("a", [0, 60, 120], [1, np.nan, np.nan])
    (series,) = new_preparer(make.sensor(1, hold=0)).fit(table).transform(table)
    assert series.time.tolist() == [0]


def test_cells_that_are_not_complete_are_left_out(make):
    table = make.readings("a", [0, 60, 120, 179], [1, 2, 3, 4])
    preparer = new_preparer(make.sensor(1)).fit(table)
    assert [s.time.tolist() for s in preparer.transform(table, until=179_000_000)] == [[0, MINUTE]]
    assert [s.time.tolist() for s in preparer.transform(table, start=1, until=3 * MINUTE)] == [
        [MINUTE, 2 * MINUTE]
    ]


def test_rows_go_on_after_the_last_reading_as_far_as_a_window_sees_it(make):
    table = make.readings("a", [0], [1])
    preparer = new_preparer(make.sensor(1, hold=3, length=8)).fit(table)
    (short,) = preparer.transform(table, until=5 * MINUTE)
    (long,) = preparer.transform(table, until=10_000 * MINUTE)
    assert len(short) == 5
    assert len(long) == 1 + 8 + 3
    assert long.mask.sum() == 1 + 3


def test_a_month_of_silence_splits_the_series_and_costs_no_memory(make):
    month = 30 * 86400
    table = make.readings("a", [0, 1, month, month + 1], [1, 2, 3, 4])
    series = new_preparer(make.sensor(1, step=1)).fit(table).transform(table)
    assert [s.entity for s in series] == ["a", "a"]
    assert sum(map(len, series)) < 40
    assert values_of(series[1]) == [3, 4]


def test_a_grid_far_too_fine_for_the_data_is_refused_with_advice(make, monkeypatch):
    monkeypatch.setattr("pipeline.prepare.grid.MOST_VALUES", 1000)
    table = make.readings("a", np.arange(200) * 86400, np.arange(200))
    with pytest.raises(DataError, match=r"grid\.step"):
        new_preparer(make.sensor(1)).fit(table).transform(table)


@quick
@given(data=scattered(ANY))
def test_any_input_gives_finite_features_within_bounds(make, data):
    table = make.readings(*data)
    try:
        preparer = new_preparer(make.sensor(2)).fit(table)
    except NotEnoughData:
        return
    for series in preparer.transform(table):
        assert np.isfinite(series.values).all()
        assert np.abs(series.values).max() < 6000  # 8 (1 + ln(1.8e308 / 8))
        assert (np.isfinite(series.actual) == series.mask).all()
        assert np.isfinite(preparer.expected(series, series.values)).all()


@quick
@given(data=scattered(), seed=st.integers(0, 99))
def test_order_and_duplicates_of_records_change_nothing(make, data, seed):
    table = make.readings(*data)
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.append(np.arange(len(table)), rng.integers(0, len(table), 9)))
    shuffled = table.take(pa.array(order))
    one, two = (new_preparer(make.sensor(2)).fit(t) for t in (table, shuffled))
    assert one.to_dict() == two.to_dict()
    assert make.by_row(one.transform(table)) == make.by_row(two.transform(shuffled))


@quick
@given(
    data=scattered(),
    share=st.floats(0, 1),
    keep=st.floats(0, 1),
    odd=st.integers(0, MINUTE - 1),
    partial=st.booleans(),
    how=st.sampled_from(["mean", "last", "min", "max"]),
)
def test_a_slice_with_context_equals_the_whole(make, data, share, keep, odd, partial, how):
    table = make.readings(*data)
    stream = make.sensor(2, length=5, stride=2, delay=1, hold=2, aggregate=how)
    preparer = new_preparer(stream).fit(table)
    time = table["time"].cast(pa.int64()).to_numpy()
    low, high = int(time.min()), int(time.max()) + MINUTE
    start = low + int(share * (high - low))
    until = start + int(keep * (high - start)) + 1
    begin = start - preparer.context // timedelta(microseconds=1) - (odd if partial else 0)
    # the first new row is the first cell that begins at or after `start`
    whole = preparer.transform(table, until=high + 100 * MINUTE)
    part = preparer.transform(make.cut(table, begin, until), start=None if partial else begin, until=until)
    complete = until // MINUTE * MINUTE
    assert make.by_row(part, start, complete) == make.by_row(whole, start, complete)
    windows = [Windows(s, 5, 2, step_us=MINUTE, fresh=2) for s in (whole, part)]
    expected = make.by_window(windows[0], whole, start, complete)
    assert make.by_window(windows[1], part, start, complete) == expected


@quick
@given(data=scattered())
def test_the_order_of_channels_only_permutes_the_features(make, data):
    names, seconds, first, second = data
    forth, back = make.readings(names, seconds, first, second), make.readings(names, seconds, second, first)
    one = new_preparer(make.sensor(2)).fit(forth).transform(forth)
    two = new_preparer(make.sensor(2)).fit(back).transform(back)
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.values, b.values[:, ::-1])


def test_daylight_saving_and_leap_days_leave_the_grid_regular(make):
    for day in ((2024, 2, 28), (2024, 3, 30), (2024, 10, 26)):
        begin = datetime(*day, tzinfo=UTC).timestamp()
        table = make.readings("a", begin + np.arange(3 * 1440) * 60, np.arange(3 * 1440))
        (series,) = new_preparer(make.sensor(1)).fit(table).transform(table)
        assert (np.diff(series.time) == MINUTE).all()
        assert series.mask.all()


def test_scaling_is_learned_from_training_data_alone(make):
    seconds = np.arange(600) * 60
    usual = np.sin(np.arange(600.0))
    table = make.readings("a", seconds, np.append(usual[:400], usual[400:] * 1e6))
    cut = 400 * MINUTE
    whole = new_preparer(make.sensor(1)).fit(table, until=cut)
    assert whole.to_dict() == new_preparer(make.sensor(1)).fit(table.slice(0, 400)).to_dict()


def test_an_entity_with_enough_history_has_its_own_scaling_and_others_share_one(make):
    rng = np.random.default_rng(0)
    high = make.readings("high", np.arange(300) * 60, 1000 + rng.normal(size=300))
    low = make.readings("low", np.arange(300) * 60, rng.normal(size=300))
    short = make.readings("short", np.arange(100) * 60, rng.normal(size=100))
    table = pa.concat_tables([high, low, short])
    preparer = new_preparer(make.sensor(1)).fit(table)
    assert set(preparer.own_) == {"high", "low"}
    assert abs(preparer.own_["high"].center[0] - 1000) < 1
    assert 0.7 < preparer.own_["low"].scale[0] < 1.3
    stranger = preparer.transform(make.readings("new", [0], [preparer.pooled_.center[0]]))
    assert stranger[0].values[0, 0] == 0


def test_expected_undoes_the_scaling(make):
    rng = np.random.default_rng(1)
    table = make.readings("a", np.arange(300) * 60, 50 + rng.normal(size=300), rng.normal(size=300))
    preparer = new_preparer(make.sensor(2)).fit(table)
    (series,) = preparer.transform(table)
    assert np.allclose(preparer.expected(series, series.values), series.actual, atol=1e-5)


def test_the_input_is_not_modified(make):
    table = make.readings("a", [120, 60, 0, 0], [1, np.inf, 3, 3])
    before = table.to_pydict()
    new_preparer(make.sensor(1)).fit(table).transform(table)
    assert table.to_pydict() == before


def test_a_restored_preparer_gives_the_same_series(make, tmp_path):
    import json

    rng = np.random.default_rng(2)
    table = make.readings("a", np.arange(300) * 60, rng.normal(size=300), rng.normal(size=300))
    fitted = new_preparer(make.sensor(2)).fit(table)
    restored = load_preparer(make.sensor(2), json.loads(json.dumps(fitted.to_dict(), sort_keys=True)))
    assert make.by_row(fitted.transform(table)) == make.by_row(restored.transform(table))


def test_a_preparer_of_another_grid_or_damaged_is_refused(make):
    saved = new_preparer(make.sensor(2)).fit(make.readings("a", [0, 60], [1, 2], [3, 4])).to_dict()
    with pytest.raises(BundleError, match="step_us"):
        load_preparer(make.sensor(2, step=30), saved)
    with pytest.raises(BundleError, match="channels"):
        load_preparer(make.sensor(3), saved)
    for damage in ({}, {"center": [0.0], "scale": [1.0]}, {"center": ["x", 0], "scale": [1, 1]}):
        with pytest.raises(BundleError, match="scaling"):
            load_preparer(make.sensor(2), {**saved, "pooled": damage})
    with pytest.raises(BundleError, match="entities"):
        load_preparer(make.sensor(2), {**saved, "own": 3})
    with pytest.raises(BundleError, match="unusable"):
        load_preparer(make.sensor(2), {**saved, "pooled": {"center": [0.0, 0.0], "scale": [1.0, 0.0]}})


def test_an_empty_table_has_no_series_and_teaches_nothing(make):
    empty = make.readings("a", [], [])
    with pytest.raises(NotEnoughData):
        new_preparer(make.sensor(1)).fit(empty)
    preparer = new_preparer(make.sensor(1)).fit(make.readings("a", [0], [1]))
    assert preparer.transform(empty) == []


def test_missing_columns_and_times_are_named(make):
    table = make.readings("a", [0, 60], [1, 2])
    preparer = new_preparer(make.sensor(1)).fit(table)
    with pytest.raises(DataError, match="time"):
        preparer.transform(table.drop_columns(["time"]))
    nothing = table.set_column(1, "time", pa.array([0, None], make.TIME))
    with pytest.raises(DataError, match="time is missing in 1"):
        preparer.transform(nothing)


def test_a_channel_without_a_column_is_never_measured(make):
    table = make.readings("a", [0, 60], [1, 2])
    (series,) = new_preparer(make.sensor(2)).fit(table).transform(table)
    assert series.mask.tolist() == [[True, False]] * 2
