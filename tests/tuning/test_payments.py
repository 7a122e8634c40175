"""Faults put into transactions: named, seeded, and never in the original."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from pipeline.tuning import payments
from pipeline.tuning.payments import KINDS
from tests.tuning import kit

SINCE = kit.T0 + 15 * kit.DAY


@pytest.fixture(scope="module")
def about():
    return kit.shop()


@pytest.fixture(scope="module")
def clean(about):
    return kit.payments(about)


@pytest.fixture(scope="module")
def copies(about, clean):
    return payments.inject(about, clean, SINCE, seed=1)


def by_id(table):
    whole = table.set_column(table.column_names.index("time"), "time", table["time"].cast(pa.int64()))
    return {row["id"]: row for row in whole.to_pylist()}


def of(copies, kind):
    return [(by_id(copy.records), fault) for copy in copies for fault in copy.faults if fault.kind == kind]


def test_the_same_seed_gives_the_same_faults_and_another_seed_others(about, clean, copies):
    again = payments.inject(about, clean, SINCE, seed=1)
    assert [c.faults for c in again] == [c.faults for c in copies]
    assert all(one.records.equals(two.records) for one, two in zip(again, copies, strict=True))
    shuffled = clean.take(np.random.default_rng(0).permutation(len(clean)))
    assert payments.inject(about, shuffled, SINCE, seed=1)[0].records.equals(copies[0].records)
    assert payments.inject(about, clean, SINCE, seed=2)[0].faults != copies[0].faults


def test_the_input_is_not_touched(about):
    mine = kit.payments(about)
    before = pa.Table.from_pydict(mine.to_pydict(), schema=mine.schema)
    payments.inject(about, mine, SINCE, seed=3)
    assert mine.equals(before)


def test_every_kind_comes_as_often_and_to_every_card(copies):
    faults = [fault for copy in copies for fault in copy.faults]
    assert Counter(fault.kind for fault in faults) == dict.fromkeys(KINDS, payments.EACH)
    for kind in KINDS:
        assert {f.entity for f in faults if f.kind == kind} == {f"card{e}" for e in range(12)}


def test_a_copy_differs_from_the_original_in_its_faults_and_nowhere_else(clean, copies):
    before = by_id(clean)
    for copy in copies:
        after = by_id(copy.records)
        assert copy.records.schema.equals(clean.schema)
        assert len(after) == len(copy.records)
        wrong = {name for fault in copy.faults for name in fault.ids}
        assert {name for name, row in after.items() if before.get(name) != row} == wrong
        assert set(before) <= set(after)
        assert all(after[name]["time"] >= SINCE for name in wrong)
        assert all(f.start <= after[name]["time"] < f.stop for f in copy.faults for name in f.ids)


def test_faults_do_what_their_names_say(clean, copies):
    before = by_id(clean)
    for after, fault in of(copies, "amount multiplied"):
        [name] = fault.ids
        assert after[name]["amount"] == pytest.approx(before[name]["amount"] * fault.size)
        assert 3 <= fault.size <= 20
    for after, fault in of(copies, "burst"):
        assert 4 <= len(fault.ids) == fault.size <= 8
        assert fault.stop - fault.start < 12 * kit.MINUTE
        assert not set(fault.ids) & set(before)
        usual = {row["amount"] for row in before.values() if row["entity"] == fault.entity}
        assert {after[name]["amount"] for name in fault.ids} <= usual
    for after, fault in of(copies, "new category"):
        ([name], [field]) = fault.ids, fault.channels
        known = {row[field] for row in before.values() if row["entity"] == fault.entity}
        assert after[name][field] not in known
        assert after[name][field] in {row[field] for row in before.values()}
    for after, fault in of(copies, "odd hour"):
        hour = after[fault.ids[0]]["time"] // payments.HOUR % 24
        assert hour in {*range(8), *range(19, 24)}  # cards are used from 9 to 18


def test_a_value_that_everybody_knows_gives_way_to_one_that_nobody_does(about):
    same = kit.payments(about)
    for column in ("country", "shop"):
        same = same.set_column(same.column_names.index(column), column, pa.array(["X"] * len(same)))
    made = of(payments.inject(about, same, SINCE, seed=0), "new category")
    assert {after[f.ids[0]][f.channels[0]] for after, f in made} == {payments.UNKNOWN}


def test_cards_without_a_history_are_left_alone(about, clean):
    young = kit.payments(about, entities=1, rows=8)
    named = pa.array(["young"] * len(young))
    late = pa.array(np.full(len(young), SINCE + kit.DAY)).cast(clean.schema.field("time").type)
    young = young.set_column(1, "entity", named).set_column(2, "time", late).cast(clean.schema)
    names = payments.entities(about, pa.concat_tables([clean, young]), SINCE, np.random.default_rng(0))
    assert names == sorted(f"card{e}" for e in range(12))
    assert payments.inject(about, clean, kit.T0 + 100 * kit.DAY, seed=0) == []
