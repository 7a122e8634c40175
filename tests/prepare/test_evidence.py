"""Promises of the evidence: no look ahead, slices equal the whole, labels only once they are known."""

import json
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.models import FilesSource, TransactionFields, TransactionStream, Window
from pipeline.errors import BundleError
from pipeline.prepare import evidence_names, load_preparer, new_preparer

DAY = 86_400_000_000
quick = settings(max_examples=30, deadline=None)


def stream_of(label="fraud", delay=7, context=5):
    return TransactionStream(
        name="cards",
        kind="transaction",
        source=FilesSource(path="in"),
        fields=TransactionFields(
            id="id",
            entity="card",
            amount="amount",
            categories=("terminal", "country"),
            label=label,
            label_delay=timedelta(days=delay),
        ),
        window=Window(length=6, stride=1, delay=0, context=timedelta(days=context)),
    )


def labelled(make, rows, seed=0, entities=5, days=40):
    table = make.payments(rows, seed, entities, days)
    label = np.random.default_rng(seed).choice([0.0, 1.0, np.nan], rows, p=[0.7, 0.2, 0.1])
    return table.append_column("label", pa.array(label))


def by_id(series):
    return {i: tuple(row) for s in series for i, row in zip(s.ids, s.evidence.tolist(), strict=True)}


def times(table):
    return np.array(table["time"].cast("int64"))


@quick
@given(seed=st.integers(0, 10_000), rows=st.integers(2, 120), share=st.floats(0, 1))
def test_no_evidence_sees_a_later_row(make, seed, rows, share):
    table = labelled(make, rows, seed)
    preparer = new_preparer(stream_of()).fit(table)
    until = int(np.sort(times(table))[int(share * (rows - 1))]) + 1
    whole = by_id(preparer.transform(table))
    for row, found in by_id(preparer.transform(make.cut(table, None, until))).items():
        assert found == whole[row]


@quick
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(2, 120),
    share=st.floats(0, 1),
    days=st.sampled_from([2, 90]),
)
def test_a_slice_with_context_has_the_evidence_of_the_whole(make, seed, rows, share, days):
    table = labelled(make, rows, seed, days=days)
    preparer = new_preparer(stream_of()).fit(table)
    start = int(np.sort(times(table))[int(share * (rows - 1))])
    part = make.cut(table, start - preparer.context // timedelta(microseconds=1))
    whole, found = by_id(preparer.transform(table)), by_id(preparer.transform(part))
    late = table.filter(pa.array(times(table) >= start))
    for row in late["id"].to_pylist():
        assert found[row] == whole[row]


@quick
@given(seed=st.integers(0, 10_000), rows=st.integers(2, 120), delay=st.sampled_from([1, 7, 30]))
def test_a_label_younger_than_the_delay_changes_nothing(make, seed, rows, delay):
    table = labelled(make, rows, seed)
    preparer = new_preparer(stream_of(delay=delay)).fit(table)
    newest = times(table).max()
    young = times(table) > newest - delay * DAY
    turned = np.where(young, 1.0 - np.nan_to_num(table["label"].to_numpy()), table["label"].to_numpy())
    other = table.set_column(table.column_names.index("label"), "label", pa.array(turned))
    assert by_id(preparer.transform(other)) == by_id(preparer.transform(table))


def test_confirmed_frauds_are_counted_by_the_book(make):
    table = labelled(make, 300, seed=3)
    stream = stream_of(delay=7)
    series = new_preparer(stream).fit(table).transform(table)
    names = evidence_names(stream)
    rows, time = table.to_pylist(), times(table)
    label = table["label"].to_numpy()
    place = {row["id"]: n for n, row in enumerate(rows)}
    found = by_id(series)
    for row in rows[::7]:
        now = time[place[row["id"]]]
        for key in ("entity", "terminal", "country"):
            for days in (1, 7, 30):
                inside = (time >= now - (7 + days) * DAY) & (time < now - 7 * DAY)
                inside &= np.array([other[key] == row[key] for other in rows])
                known = found[row["id"]][names.index(f"known {key} {days}")]
                fraud = found[row["id"]][names.index(f"fraud {key} {days}")]
                assert known == np.sum(inside & ~np.isnan(label))
                assert fraud == np.sum(inside & (label > 0))


def test_a_terminal_gone_bad_shows_in_others_payments_there(make):
    rng = np.random.default_rng(0)
    count = 2000
    terminal = rng.choice([f"t{i}" for i in range(20)], count)
    amount, time = rng.normal(50, 5, count), np.arange(count) * 600
    bad = (terminal == "t3") & (np.arange(count) > 1500)
    table = pa.table(
        {
            "id": [f"{i:05}" for i in range(count)],
            "entity": [f"card{i}" for i in rng.integers(0, 40, count)],
            "time": pa.array(time * 1_000_000, pa.int64()).cast(make.TIME),
            "amount": np.where(bad, amount * 4, amount),
            "terminal": terminal,
            "country": ["de"] * count,
        }
    )
    preparer = new_preparer(stream_of(label=None)).fit(table.slice(0, 1500))
    column = preparer.evidence_.index("others terminal")
    found = by_id(preparer.transform(table))
    odd = np.array([found[f"{i:05}"][column] for i in range(count)])
    last = np.flatnonzero(bad)[8:]
    assert odd[last].min() > 2 * np.quantile(odd[:1500], 0.99)
    elsewhere = (terminal != "t3") & (np.arange(count) > 1500)
    assert np.quantile(odd[elsewhere], 0.95) < odd[last].min()


def test_one_wild_payment_does_not_make_the_next_look_usual(make):
    amounts = [10.0] * 20 + [1000.0, 1000.0]
    table = pa.table(
        {
            "id": [f"{i:03}" for i in range(22)],
            "entity": ["a"] * 22,
            "time": pa.array(np.arange(22) * 3_600_000_000, pa.int64()).cast(make.TIME),
            "amount": amounts,
            "terminal": ["x"] * 22,
            "country": ["de"] * 22,
        }
    )
    preparer = new_preparer(stream_of(label=None)).fit(table.slice(0, 20))
    (series,) = preparer.transform(table)
    own = series.evidence[:, preparer.evidence_.index("own")]
    assert own[21] < 1.1 * own[20]


def payments_of_one(make, amounts, minutes):
    count = len(amounts)
    return pa.table(
        {
            "id": [f"{i:03}" for i in range(count)],
            "entity": ["a"] * count,
            "time": pa.array(np.asarray(minutes) * 60_000_000, pa.int64()).cast(make.TIME),
            "amount": np.asarray(amounts, float),
            "terminal": ["x"] * count,
            "country": ["de"] * count,
        }
    )


def test_what_is_paid_again_and_again_is_told_from_what_is_new(make):
    table = payments_of_one(make, [9.99, 30.0, 9.99, 31.0, 9.99, 32.0, np.nan, np.nan], np.arange(8) * 60)
    preparer = new_preparer(stream_of(label=None)).fit(table)
    (series,) = preparer.transform(table)
    same = series.evidence[:, preparer.evidence_.index("same")]
    assert (same[[2, 4]] > 0.2).all()
    assert not same[[0, 1, 3, 5, 6, 7]].any()


def test_haste_is_odd_and_less_so_for_whom_much_is_known(make):
    slow = np.arange(40) * 60
    late = payments_of_one(make, range(1, 44), [*slow, *(slow[-1] + np.arange(1, 4))])  # a short burst
    preparer = new_preparer(stream_of(label=None)).fit(payments_of_one(make, range(1, 41), slow))
    early = payments_of_one(make, range(1, 5), range(4))
    at = preparer.evidence_.index("pace")
    (old,), (new,) = preparer.transform(late), preparer.transform(early)
    assert old.evidence[-1, at] > 1.4 * old.evidence[39, at]
    assert new.evidence[-1, at] > 2 * old.evidence[-1, at]


@pytest.mark.parametrize("unit", [0.01, 100.0, 1e6])
def test_evidence_is_the_same_in_cents_and_in_euros(make, unit):
    table = make.payments(300)
    other = table.set_column(3, "amount", pa.array(table["amount"].to_numpy() * unit))
    stream = stream_of(label=None)
    one, two = (new_preparer(stream).fit(t).transform(t) for t in (table, other))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a.evidence[:, :2] * unit, b.evidence[:, :2], rtol=1e-9)
        np.testing.assert_allclose(a.evidence[:, 2:], b.evidence[:, 2:], rtol=1e-9)


@quick
@given(amounts=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=30))
def test_any_amount_gives_finite_evidence(make, amounts):
    count = len(amounts)
    table = pa.table(
        {
            "id": [f"{i:03}" for i in range(count)],
            "entity": [f"{i % 3}" for i in range(count)],
            "time": pa.array(np.arange(count) * 60_000_000, pa.int64()).cast(make.TIME),
            "amount": [float(a) for a in amounts],
            "terminal": ["x"] * count,
            "country": [None] * count,
        }
    )
    preparer = new_preparer(stream_of(label=None)).fit(table)
    for series in preparer.transform(table):
        assert np.isfinite(series.evidence).all()


def test_a_damaged_or_other_fit_is_refused(make):
    table = labelled(make, 100)
    saved = new_preparer(stream_of()).fit(table).to_dict()
    assert by_id(load_preparer(stream_of(), json.loads(json.dumps(saved))).transform(table)) == by_id(
        new_preparer(stream_of()).fit(table).transform(table)
    )
    with pytest.raises(BundleError, match="label_delay"):
        load_preparer(stream_of(delay=3), saved)
    for damage in (
        None,
        {},
        {"amount": 1, "size": 0, "burst_us": 1},
        {"amount": "x", "size": 1, "burst_us": 1},
    ):
        with pytest.raises(BundleError):
            load_preparer(stream_of(), {**saved, "norms": damage})


def test_rows_before_since_are_context_and_nothing_is_learned_from_them(make):
    table = make.payments(300).sort_by("time")
    since = int(times(table)[100])
    spoiled = table.set_column(3, "amount", pa.array([*([1e9] * 100), *table["amount"].to_pylist()[100:]]))
    stream = stream_of(label=None)
    one, two = (new_preparer(stream).fit(t, since=since) for t in (table, spoiled))
    assert one.norms_ == two.norms_
    assert one.words_ == two.words_
