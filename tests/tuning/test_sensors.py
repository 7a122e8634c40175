"""Faults put into sensor readings: named, seeded, somewhere else each time, and never in the original."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from pipeline.tuning import sensors
from pipeline.tuning.bends import KINDS
from tests.tuning import kit

SINCE = kit.T0 + 600 * kit.MINUTE


def arrays(table, channels):
    entity = np.asarray(table["entity"].to_pylist())
    time = table["time"].cast(pa.int64()).to_numpy()
    return entity, time, np.stack([table[c].to_numpy(zero_copy_only=False) for c in channels], axis=1)


def within(fault, entity, time):
    return (entity == fault.entity) & (time >= fault.start) & (time < fault.stop)


@pytest.fixture(scope="module")
def about():
    return kit.plant()


@pytest.fixture(scope="module")
def clean(about):
    return kit.readings(about, entities=("a", "b", "c"))


@pytest.fixture(scope="module")
def copies(about, clean):
    return sensors.inject(about, clean, SINCE, seed=1)


@pytest.fixture(scope="module")
def faults(copies):
    return [(copy, fault) for copy in copies for fault in copy.faults]


def test_the_same_seed_gives_the_same_faults_and_another_seed_others(about, clean, copies):
    again = sensors.inject(about, clean, SINCE, seed=1)
    assert [c.faults for c in again] == [c.faults for c in copies]
    assert all(one.records.equals(two.records) for one, two in zip(again, copies, strict=True))
    other = sensors.inject(about, clean, SINCE, seed=2)
    assert {f for c in other for f in c.faults}.isdisjoint(f for c in copies for f in c.faults)


def test_the_order_of_rows_changes_no_fault(about, clean, copies):
    shuffled = clean.take(np.random.default_rng(0).permutation(len(clean)))
    again = sensors.inject(about, shuffled, SINCE, seed=1)
    assert [c.faults for c in again] == [c.faults for c in copies]
    key = [("entity", "ascending"), ("time", "ascending")]
    assert again[0].records.sort_by(key).equals(copies[0].records.sort_by(key))


def test_the_input_is_not_touched(about):
    mine = kit.readings(about)
    before = pa.Table.from_pydict(mine.to_pydict(), schema=mine.schema)
    sensors.inject(about, mine, SINCE, seed=3)
    assert mine.equals(before)


def test_every_kind_comes_often_and_to_every_entity(faults):
    kinds = Counter(fault.kind for _, fault in faults)
    assert set(kinds) == set(KINDS)
    assert min(kinds.values()) >= sensors.EACH * 0.75
    assert all({f.entity for _, f in faults if f.kind == kind} == {"a", "b", "c"} for kind in KINDS)


def test_a_copy_differs_from_the_original_where_its_faults_are_and_nowhere_else(about, clean, copies):
    entity, time, before = arrays(clean, about.channels)
    for copy in copies:
        assert copy.records.schema.equals(clean.schema)
        faulty = np.zeros(before.shape, bool)
        for fault in copy.faults:
            assert fault.start >= SINCE
            struck = np.isin(about.channels, fault.channels)
            rows = within(fault, entity, time)
            assert not faulty[rows].any()  # no two faults at one place
            faulty |= rows[:, None] & struck
        _, _, after = arrays(copy.records, about.channels)
        assert np.array_equal(after[~faulty], before[~faulty])


def test_every_fault_is_large_enough_to_be_one(about, clean, faults):
    entity, time, before = arrays(clean, about.channels)
    spread = {name: sensors.usual_spread(before[entity == name]) for name in ("a", "b", "c")}
    for copy, fault in faults:
        rows, struck = within(fault, entity, time), np.isin(about.channels, fault.channels)
        _, _, after = arrays(copy.records, about.channels)
        off = (after - before)[rows][:, struck] / spread[fault.entity][struck]
        assert np.sqrt((off**2).mean(axis=0)).min() >= sensors.FAINTEST


def bent(about, clean, faults, kind):
    """Yield each fault of a kind with what was read before and after [n, k], in its channels."""
    entity, time, before = arrays(clean, about.channels)
    for copy, fault in faults:
        if fault.kind == kind:
            rows = within(fault, entity, time)
            struck = [about.channels.index(name) for name in fault.channels]
            _, _, after = arrays(copy.records, about.channels)
            yield (
                fault,
                before[rows][:, struck],
                after[rows][:, struck],
                before[entity == fault.entity][:, struck],
            )


def test_faults_do_what_their_names_say(about, clean, faults):
    of = lambda kind: list(bent(about, clean, faults, kind))  # noqa: E731
    for _, before, after, _ in [*of("level shift"), *of("spike")]:
        assert np.allclose(np.ptp(after - before, axis=0), 0)
    assert all(len(before) <= 3 for _, before, _, _ in of("spike"))
    for _, before, after, _ in of("drift"):
        assert (np.diff(np.abs(after - before), axis=0) > 0).all()
    for _, before, after, _ in of("stuck"):
        assert (after == before[0]).all()
    for _, before, after, _ in of("amplitude change"):
        assert np.allclose(after.mean(axis=0), before.mean(axis=0))
        assert not np.isclose(after.std(axis=0), before.std(axis=0), rtol=0.2).any()
    for fault, before, after, whole in of("delayed channel"):
        lag = int(8 * fault.size)
        start = int(np.flatnonzero((whole == before[0]).all(axis=1))[0])
        assert np.array_equal(after, whole[start - lag - 1 : start - lag - 1 + len(after)]) or np.array_equal(
            after, whole[start - lag : start - lag + len(after)]
        )
    for fault, before, after, _ in of("swapped channels"):
        assert len(fault.channels) >= 2
        assert np.corrcoef(after[:, 0], before[:, -1])[0, 1] == pytest.approx(1)
    jumps = [np.abs(np.diff(after - before, axis=0)).mean() for _, before, after, _ in of("noise burst")]
    assert min(jumps) > 1


def test_commands_switches_and_constants_are_spared():
    about = kit.stream(
        kind="sensor",
        fields={
            "entity": "pump",
            "channels": [{"name": "a"}, {"name": "set", "role": "command"}, {"name": "on"}, {"name": "flat"}],
        },
    )
    plain = kit.readings(about)
    on = pa.array((np.arange(len(plain)) // 50 % 2).astype(float))
    table = plain.set_column(4, "on", on).set_column(5, "flat", pa.array(np.full(len(plain), 7.0)))
    made = sensors.inject(about, table, SINCE, seed=0)
    assert {name for copy in made for fault in copy.faults for name in fault.channels} == {"a"}
    assert "swapped channels" not in {fault.kind for copy in made for fault in copy.faults}


def test_readings_faster_than_the_grid_are_bent_by_whole_steps(about):
    clean = kit.readings(about, rows=6000, seconds=10)
    since = kit.T0 + 300 * kit.MINUTE
    entity, time, before = arrays(clean, about.channels)
    for copy in sensors.inject(about, clean, since, seed=0):
        _, _, after = arrays(copy.records, about.channels)
        for fault in copy.faults:
            assert fault.start % kit.MINUTE == fault.stop % kit.MINUTE == 0
            if fault.kind == "noise burst":
                struck = [about.channels.index(name) for name in fault.channels]
                off = (after - before)[within(fault, entity, time)][:, struck]
                assert np.allclose(np.ptp(off.reshape(-1, 6, len(struck)), axis=1), 0)


def test_missing_readings_are_survived_and_stay_nulls(about):
    clean = kit.readings(about)
    holes = np.random.default_rng(0).random(len(clean)) < 0.2
    table = clean.set_column(2, "c0", pa.array(np.where(holes, np.nan, clean["c0"]), from_pandas=True))
    copies = sensors.inject(about, table, SINCE, seed=0)
    assert sum(len(copy.faults) for copy in copies) > 4 * sensors.EACH
    for copy in copies:
        assert not np.isnan(copy.records["c0"].drop_null().to_numpy()).any()


def test_where_there_is_no_room_or_nothing_moves_there_are_no_faults(about):
    clean = kit.readings(about)
    end = kit.T0 + 1990 * kit.MINUTE
    assert sensors.inject(about, clean, end, seed=0) == []
    assert sensors.entities(about, clean, end, np.random.default_rng(0)) == []
    flat = clean
    for column, name in enumerate(about.channels, start=2):
        flat = flat.set_column(column, name, pa.array(np.ones(len(clean))))
    assert sensors.inject(about, flat, SINCE, seed=0) == []


def test_of_many_entities_some_are_chosen_by_the_seed(about):
    clean = kit.readings(about, entities=[f"m{i:03}" for i in range(40)], rows=300)
    since = kit.T0 + 200 * kit.MINUTE
    one, two, other = (sensors.entities(about, clean, since, np.random.default_rng(s)) for s in (0, 0, 1))
    assert one == two != other
    assert len(one) == sensors.MOST_ENTITIES
