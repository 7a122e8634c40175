"""Promises of transaction features: no look ahead, bounded look back, an entity against its own history."""

import json
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BundleError, DataError, NotEnoughData
from pipeline.prepare import Windows, load_preparer, new_preparer

DAY = 86_400_000_000
quick = settings(max_examples=40, deadline=None)


def table_of(make, times, amounts, entity="a", ids=None, **categories):
    """Transactions of one card; times in seconds since the epoch."""
    count = len(times)
    return pa.table(
        {
            "id": ids or [f"t{i:04}" for i in range(count)],
            "entity": [entity] * count,
            "time": pa.array([int(t * 1e6) for t in times], pa.int64()).cast(make.TIME),
            "amount": pa.array([float(a) for a in amounts]),
            "terminal": categories.get("terminal", ["x"] * count),
            "country": categories.get("country", ["de"] * count),
        }
    )


@st.composite
def journals(draw, most=120):
    seed, rows = draw(st.integers(0, 10_000)), draw(st.integers(2, most))
    return seed, rows, draw(st.integers(1, 4)), draw(st.sampled_from([1, 20, 200]))


def feature(preparer, series, name):
    return series.values[:, preparer.features_.names.index(name)]


@quick
@given(journal=journals(), share=st.floats(0, 1))
def test_no_feature_sees_a_later_row(make, journal, share):
    seed, rows, entities, days = journal
    table = make.payments(rows, seed, entities, days)
    preparer = new_preparer(make.cards()).fit(table)
    times = np.sort(np.array(table["time"].cast("int64")))
    until = int(times[int(share * (rows - 1))]) + 1
    truncated = preparer.transform(make.cut(table, None, until))
    assert make.by_row(truncated) == make.by_row(preparer.transform(table), None, until)


@quick
@given(journal=journals(), share=st.floats(0, 1), context=st.sampled_from([1, 5, 30]))
def test_a_slice_with_context_equals_the_whole(make, journal, share, context):
    seed, rows, entities, days = journal
    table = make.payments(rows, seed, entities, days)
    stream = make.cards(context=context, length=6)
    preparer = new_preparer(stream).fit(table)
    times = np.sort(np.array(table["time"].cast("int64")))
    start = int(times[int(share * (rows - 1))])
    whole = preparer.transform(table)
    part = preparer.transform(make.cut(table, start - preparer.context // timedelta(microseconds=1)))
    assert make.by_row(part, start) == make.by_row(whole, start)
    reach = preparer.window_reach // timedelta(microseconds=1)
    windows = [Windows(s, 6, 1, step_us=None, reach_us=reach) for s in (whole, part)]
    expected = make.by_window(windows[0], whole, start)
    assert make.by_window(windows[1], part, start) == expected


@quick
@given(journal=journals(), again=st.integers(0, 99))
def test_order_and_duplicates_of_records_change_nothing(make, journal, again):
    seed, rows, entities, _ = journal
    table = make.payments(rows, seed, entities, days=1)
    rng = np.random.default_rng(again)
    order = rng.permutation(np.append(np.arange(rows), rng.integers(0, rows, 5)))
    shuffled = table.take(pa.array(order))
    one, two = (new_preparer(make.cards()).fit(t) for t in (table, shuffled))
    assert one.to_dict() == two.to_dict()
    assert make.by_row(one.transform(table)) == make.by_row(two.transform(shuffled))


@quick
@given(
    amounts=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=30),
    gap=st.sampled_from([0, 1, 86400, 40 * 86400]),
)
def test_any_amount_gives_finite_features_within_bounds(make, amounts, gap):
    table = table_of(make, np.arange(len(amounts)) * gap, amounts)
    preparer = new_preparer(make.cards()).fit(table)
    (series,) = preparer.transform(table)
    assert np.isfinite(series.values).all()
    assert np.abs(series.values).max() < 6000  # 8 (1 + ln(1.8e308 / 8))
    assert (series.values[~series.mask] == 0).all()
    expected = preparer.expected(series, series.values)
    assert (np.isfinite(expected) == np.isfinite(series.actual)).all()


def test_history_is_bounded_in_rows_and_in_time(make):
    amounts = np.append(np.full(80, 500.0), np.full(100, 10.0))
    table = table_of(make, np.arange(180) * 3600, amounts)
    preparer = new_preparer(make.cards()).fit(table)
    whole = preparer.transform(table)[0].values
    tail = preparer.transform(table.slice(180 - 65))[0].values
    assert np.array_equal(whole[-1], tail[-1])
    late = table_of(make, [*range(50), 31 * 86400], [500] * 50 + [10])
    alone = preparer.transform(late.slice(50))[0]
    assert np.array_equal(preparer.transform(late)[0].values[-1], alone.values[0])


def test_an_amount_is_judged_against_the_entitys_own_history(make):
    rng = np.random.default_rng(0)
    small, large = rng.normal(10, 1, 200), rng.normal(1000, 100, 200)
    times = np.arange(200) * 7200
    ids = [f"b{i}" for i in range(200)]
    table = pa.concat_tables(
        [table_of(make, times, small, "small"), table_of(make, times, large, "large", ids)]
    )
    preparer = new_preparer(make.cards()).fit(table)
    odd = table_of(make, [*times[:50], 50 * 7200], [*small[:50], 1000], "small")
    same = table_of(make, [*times[:50], 50 * 7200], [*large[:50], 1000], "large")
    (surprised,), (usual,) = preparer.transform(odd), preparer.transform(same)
    assert feature(preparer, surprised, "amount against own")[-1] > 8
    assert abs(feature(preparer, usual, "amount against own")[-1]) < 2
    expected = preparer.expected(surprised, np.zeros_like(surprised.values))
    assert 5 < expected[-1, 0] < 20
    assert surprised.actual[-1, 0] == 1000


def test_pace_is_the_time_since_the_last_one_and_unknown_for_the_first(make):
    table = table_of(make, [0, 3600, 3600 * 3, 3600 * 4], [1, 2, 3, 4])
    preparer = new_preparer(make.cards()).fit(table)
    (series,) = preparer.transform(table)
    assert series.actual[:, 1].tolist()[1:] == [1, 2, 1]
    assert np.isnan(series.actual[0, 1])
    known = series.mask[:, preparer.features_.names.index("pace")]
    assert known.tolist() == [False, True, True, True]
    assert np.allclose(preparer.expected(series, series.values)[1:, 1], [1, 2, 1], atol=1e-3)


def test_time_of_day_is_utc_and_comes_back_from_its_angle(make):
    times = 1_711_843_200 + np.arange(0, 86400, 5400)  # a day on which clocks change in Europe
    table = table_of(make, times, np.ones(len(times)))
    preparer = new_preparer(make.cards()).fit(table)
    (series,) = preparer.transform(table)
    assert series.actual[:, 2].tolist() == (np.arange(0, 24, 1.5)).tolist()
    assert np.allclose(preparer.expected(series, series.values)[:, 2], series.actual[:, 2], atol=1e-4)
    sunday = preparer.features_.names.index("weekday sin")
    assert series.values[0, sunday] == pytest.approx(np.sin(2 * np.pi * 6 / 7))


def test_a_category_new_to_the_entity_is_flagged_and_surprises(make):
    terminals = ["x"] * 30 + ["y"] * 5 + ["never seen"]
    table = table_of(make, np.arange(36) * 3600, np.ones(36), terminal=terminals)
    preparer = new_preparer(make.cards()).fit(table.slice(0, 35))
    (series,) = preparer.transform(table)
    new = feature(preparer, series, "terminal new")
    assert np.flatnonzero(new).tolist() == [30, 35]
    surprise = feature(preparer, series, "terminal surprise")
    assert surprise[29] < surprise[30] < surprise[35]
    assert feature(preparer, series, "terminal unknown")[-1] == 1
    assert feature(preparer, series, "terminal =y")[30] == 1


def test_every_feature_belongs_to_a_channel(make):
    preparer = new_preparer(make.cards()).fit(make.payments(200))
    channels = make.cards().channels
    owner = {
        n: channels[c] for n, c in zip(preparer.features_.names, preparer.features_.channel_of, strict=True)
    }
    assert owner["amount against own"] == "amount"
    assert owner["last day"] == "pace"
    assert owner["weekday cos"] == "time of day"
    assert {owner["terminal new"], owner["terminal =a"], owner["terminal rare"]} == {"terminal"}
    assert set(owner.values()) == set(channels)


def test_everything_is_learned_from_training_data_alone(make):
    table = make.payments(300).sort_by("time")
    until = int(table["time"].cast("int64")[200].as_py())
    spoiled = table.set_column(3, "amount", pa.array([*table["amount"].to_pylist()[:200], *([1e9] * 100)]))
    one = new_preparer(make.cards()).fit(spoiled, until=until)
    assert one.to_dict() == new_preparer(make.cards()).fit(table.slice(0, 200)).to_dict()


def test_missing_categories_and_amounts_are_masked_or_unknown_never_wrong(make):
    table = table_of(make, [0, 60, 120], [1, np.nan, 3], terminal=["x", None, "x"]).drop_columns(["country"])
    preparer = new_preparer(make.cards()).fit(table)
    (series,) = preparer.transform(table)
    amount = preparer.features_.names.index("amount")
    assert series.mask[:, amount].tolist() == [True, False, True]
    assert np.isnan(series.actual[1, 0])


def test_the_input_is_not_modified(make):
    table = make.payments(50)
    before = table.to_pydict()
    new_preparer(make.cards()).fit(table).transform(table)
    assert table.to_pydict() == before


def test_rows_of_one_moment_are_in_the_order_of_their_ids(make):
    table = table_of(make, [5, 5, 5], [1, 2, 3], ids=["c", "a", "b"])
    (series,) = new_preparer(make.cards()).fit(table).transform(table)
    assert series.ids.tolist() == ["a", "b", "c"]
    assert series.actual[:, 0].tolist() == [2, 3, 1]


def test_a_restored_preparer_gives_the_same_series(make):
    table = make.payments(200)
    fitted = new_preparer(make.cards()).fit(table)
    restored = load_preparer(make.cards(), json.loads(json.dumps(fitted.to_dict(), sort_keys=True)))
    assert make.by_row(fitted.transform(table)) == make.by_row(restored.transform(table))
    assert restored.embargo == fitted.embargo
    assert restored.features_.names == fitted.features_.names


def test_a_preparer_of_another_stream_or_damaged_is_refused(make):
    saved = new_preparer(make.cards()).fit(make.payments(100)).to_dict()
    with pytest.raises(BundleError, match="context_us"):
        load_preparer(make.cards(context=7), saved)
    with pytest.raises(BundleError, match="channels"):
        load_preparer(make.cards(categories=("terminal",)), saved)
    with pytest.raises(BundleError, match="kind"):
        load_preparer(make.sensor(2), saved)
    for key, damage in (
        ("vocabularies", []),
        ("vocabularies", [{"total": 1}] * 2),
        ("vocabularies", [{"total": 0, "frequent": [], "buckets": []}] * 2),
        ("features", ["amount"]),
        ("scaling", {}),
        ("population", {"center": [0], "scale": [1]}),
    ):
        with pytest.raises(BundleError):
            load_preparer(make.cards(), {**saved, key: damage})


def test_empty_and_incomplete_tables(make):
    table = make.payments(50)
    preparer = new_preparer(make.cards()).fit(table)
    assert preparer.transform(table.slice(0, 0)) == []
    with pytest.raises(NotEnoughData):
        new_preparer(make.cards()).fit(table.slice(0, 0))
    with pytest.raises(DataError, match="id"):
        preparer.transform(table.drop_columns(["id"]))


def test_one_window_usually_spans_the_embargo_but_never_much_of_the_history(make):
    steady = table_of(make, np.arange(2000) * 3600, np.ones(2000))
    assert new_preparer(make.cards()).fit(steady).embargo == timedelta(hours=8)
    sparse = table_of(make, np.arange(20) * 86400, np.ones(20))
    assert new_preparer(make.cards()).fit(sparse).embargo == timedelta(days=19) / 20
