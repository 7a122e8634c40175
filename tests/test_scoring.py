"""Slices change nothing: a stream scored whole, in chunks, in any order or late has the same scores."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.config.models import parse_stream
from pipeline.detect import Detector, HeldOut
from pipeline.learning import learn
from pipeline.schemas import TIME, records
from pipeline.scoring import Scorer, micros, moment, score_table, tabulate

START = datetime(2026, 3, 1, tzinfo=UTC)
SENSOR = """{"name": "plant", "kind": "sensor", "source": {"path": "x"},
  "fields": {"entity": "pump", "channels": [{"name": "flow"}, {"name": "power"}]},
  "window": {"length": 12, "stride": 2, "delay": 3}, "model": {"units": [8], "latent": 4, "epochs": 2},
  "alert": {"false_alarms": "5/day"}}"""
CARDS = """{"name": "cards", "kind": "transaction", "source": {"path": "x"},
  "fields": {"id": "id", "entity": "card", "amount": "amount", "categories": ["shop"]},
  "window": {"length": 8, "stride": 1, "delay": 0, "context": "3d"},
  "model": {"units": [8], "latent": 4, "epochs": 2}, "alert": {"false_alarms": "5/day"}}"""


def plant(minutes=2200):
    """Two pumps for a day and a half, irregular, with gaps short and long."""
    rng, parts = np.random.default_rng(0), []
    for pump in ("a", "b"):
        minute = np.flatnonzero(rng.random(minutes) > 0.1)
        minute = minute[(minute < 900) | (minute > 1000)]
        second = minute * 60 + rng.integers(0, 50, len(minute))
        swing = np.sin(minute / 30)
        flow, power = 10 + swing + rng.normal(0, 0.1, len(minute)), 5 + swing * 2
        flow[rng.random(len(minute)) < 0.05] = np.nan
        parts.append((np.full(len(minute), pump), second, flow, power))
    entity, second, flow, power = (np.concatenate(p) for p in zip(*parts, strict=True))
    return table(SENSOR, entity=entity, time=second, flow=flow, power=power)


def cards():
    """Forty cards for nine days."""
    rng, count = np.random.default_rng(1), 3000
    second = np.sort(rng.integers(0, 9 * 86400, count))
    card = rng.integers(0, 40, count)
    return table(
        CARDS,
        id=np.array([f"t{i}" for i in range(count)]),
        entity=np.array([f"card-{c}" for c in card]),
        time=second,
        amount=np.round(rng.lognormal(2 + card / 20, 0.5), 2),
        shop=np.array([f"shop-{s}" for s in rng.integers(0, 30, count)]),
    )


def table(stream, **columns):
    base = int(START.timestamp() * 1e6)
    columns["time"] = pa.array(base + columns["time"].astype(np.int64) * 1_000_000, pa.int64()).cast(TIME)
    schema = records(parse_stream(stream))
    return pa.table({name: pa.array(columns[name], from_pandas=True) for name in schema.names}).cast(schema)


@pytest.fixture(scope="module", params=[(SENSOR, plant), (CARDS, cards)], ids=["sensor", "transaction"])
def learned(request, tmp_path_factory):
    text, make = request.param
    rows = make()
    bundle = learn(parse_stream(text), rows, tmp_path_factory.mktemp("learned")).bundle
    return bundle, rows, score_table(bundle, rows, until=newest(rows))


@pytest.fixture(scope="module")
def pumps(tmp_path_factory):
    """What was learned of the plant, once."""
    return learn(parse_stream(SENSOR), plant(), tmp_path_factory.mktemp("pumps"))


def scorer_of(pumps, **looks):
    """A scorer whose detector has other looks, learned from the same held-out rows."""
    pieces = [HeldOut(r.series.entity, r.series.time, r.errors) for r in pumps.held_out]
    detector = Detector(**looks).fit(pieces, per_second=1e-4, merge_us=600_000_000, step_us=60_000_000)
    return replace(Scorer.of(pumps.bundle), detector=detector)


def between(rows, start, until):
    time = rows["time"]
    near = pa.compute.greater_equal(time, pa.scalar(start, TIME))
    return rows.filter(pa.compute.and_(near, pa.compute.less(time, pa.scalar(until, TIME))))


def judged(scorer, rows, start=None, until=None, end=None):
    """Score, raw score and flag of each row of a slice that has a score, by entity and time."""
    found = {}
    for one in scorer.judge(rows, start=start, until=until):
        numbers = zip(one.scored.score, one.scored.raw, one.scored.flag, strict=True)
        keys = ((one.rows.series.entity, time) for time in one.rows.series.time.tolist())
        found |= dict(zip(keys, numbers, strict=True))
    low, high = (None if each is None else micros(each) for each in (start, end))
    return {
        key: numbers
        for key, numbers in found.items()
        if not np.isnan(numbers[0]) and (low is None or key[1] >= low) and (high is None or key[1] < high)
    }


def same(found, expected):
    assert found.keys() == expected.keys()
    for key, (score, raw, flag) in expected.items():
        assert found[key][:2] == pytest.approx((score, raw), rel=1e-5, abs=1e-6)
        assert found[key][2] == flag or abs(score - 1) < 1e-5


def newest(rows):
    return pa.compute.max(rows["time"]).as_py() + timedelta(microseconds=1)


def numbers(scores):
    return {
        (row["entity"], row["time"], row["id"]): (row["score"], row["raw"], row["flag"])
        for row in scores.to_pylist()
    }


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_scoring_in_chunks_equals_scoring_whole(learned, data):
    bundle, rows, whole = learned
    last = newest(rows)
    span = int((last - START).total_seconds()) + 1
    cuts = sorted(data.draw(st.lists(st.integers(span // 2, span - 1), min_size=1, max_size=5, unique=True)))
    edges = [START + timedelta(seconds=s) for s in (*cuts, span)]
    context, found = Scorer.of(bundle).context, {}
    for begin, end in pairwise(edges):
        until = min(end + Scorer.of(bundle).settle, last)
        time = rows["time"]
        near = pa.compute.and_(
            pa.compute.greater_equal(time, pa.scalar(begin - context, TIME)),
            pa.compute.less(time, pa.scalar(until, TIME)),
        )
        part = numbers(score_table(bundle, rows.filter(near), start=begin, until=until))
        found |= {key: value for key, value in part.items() if key[1] < end}
    expected = {key: value for key, value in numbers(whole).items() if edges[0] <= key[1] < edges[-1]}
    assert found.keys() == expected.keys()
    for key, (score, raw, flag) in expected.items():
        assert found[key][:2] == pytest.approx((score, raw), rel=1e-5, abs=1e-6)
        assert found[key][2] == flag or abs(score - 1) < 1e-5


def test_the_order_of_records_changes_nothing(learned):
    bundle, rows, whole = learned
    shuffled = rows.take(np.random.default_rng(2).permutation(len(rows)))
    assert numbers(score_table(bundle, shuffled, until=newest(rows))) == numbers(whole)


def test_scores_are_finite_and_as_many_as_there_are_records_or_steps(learned):
    bundle, rows, whole = learned
    assert np.isfinite(whole["score"].to_numpy()).all()
    if bundle.manifest["kind"] == "transaction":
        assert sorted(whole["id"].to_pylist()) == sorted(rows["id"].to_pylist())
    else:
        assert len(whole) > 0.9 * len(rows)


def test_another_entity_beside_it_changes_no_entity(learned):
    bundle, rows, whole = learned
    name = rows["entity"][0].as_py()
    alone = rows.filter(pa.compute.equal(rows["entity"], name))
    mine = {key: value for key, value in numbers(whole).items() if key[0] == name}
    found = numbers(score_table(bundle, alone, until=newest(rows)))
    assert found.keys() == mine.keys()
    for key, value in mine.items():
        assert found[key][:2] == pytest.approx(value[:2], rel=1e-5, abs=1e-6)


LOOKS = {
    "real sizes": ({}, 6000, 1800),
    "small": ({"spans": (2, 4, 16), "memory": 60}, 2200, 170),
    "small and patient": ({"spans": (2, 4, 16), "memory": 60, "lookahead": 8}, 2200, 170),
    "real sizes and patient": ({"lookahead": 200}, 6000, 1800),
}


@pytest.mark.parametrize("name", LOOKS)
def test_a_slice_needs_only_its_context_whatever_the_looks(pumps, name):
    looks, minutes, piece = LOOKS[name]
    scorer, rows = scorer_of(pumps, **looks), plant(minutes)
    last = newest(rows)
    whole = judged(scorer, rows, until=last)
    assert scorer.context < timedelta(minutes=minutes / 2)
    first = START + scorer.context
    edges = [first, *(first + timedelta(minutes=m) for m in range(piece, minutes, piece)), last]
    found = {}
    for begin, end in pairwise([edge for edge in edges if edge < last] + [last]):
        until = min(end + scorer.settle, last)
        part = between(rows, begin - scorer.context, until)
        found |= judged(scorer, part, begin, until, end)
    same(found, {key: value for key, value in whole.items() if key[1] >= micros(first)})
    assert len(found) > minutes / 2


@pytest.mark.parametrize("name", [*LOOKS][-2:])
def test_going_on_from_what_is_remembered_equals_scoring_whole(pumps, name):
    """Records come out of order by up to ten minutes, pump b is silent for an hour and then begins anew."""
    looks, minutes, _ = LOOKS[name]
    scorer, rows, rng = scorer_of(pumps, **looks), plant(minutes), np.random.default_rng(4)
    time = rows["time"].cast(pa.int64()).to_numpy()
    hour = (time >= micros(START + timedelta(minutes=1500))) & (
        time < micros(START + timedelta(minutes=1560))
    )
    rows = rows.filter(pa.array(~(hour & (rows["entity"].to_numpy(zero_copy_only=False) == "b"))))
    time = rows["time"].cast(pa.int64()).to_numpy()
    order = np.argsort(time + rng.integers(0, 600_000_000, len(time)) * (rng.random(len(time)) < 0.05))
    whole, last = judged(scorer, rows, until=newest(rows)), newest(rows)
    found, lanes, reused, begun = {}, None, 0, START + scorer.context
    cuts = [int(np.searchsorted(time[order], micros(begun))), *range(1000, len(order), 97), len(order)]
    watermark = None
    for first, stop in pairwise(sorted({0, *cuts})):
        come = rows.take(pa.array(np.sort(order[:stop])))
        touched = moment(int(time[order[first:stop]].min()))
        start = min(watermark or touched, touched) - scorer.settle
        start, lanes = (begun, None) if start < begun else (start, lanes)
        watermark = newest(come) if watermark is None else max(watermark, newest(come))
        if watermark <= begun:
            continue
        ready = scorer.reaches(lanes, start)
        reused += ready
        near = start - (scorer.preparer.context if ready else scorer.context)
        some, lanes = scorer.follow(between(come, near, watermark), lanes, start=start, until=watermark)
        table = tabulate(some, scorer.stream.channels, start=start).to_pylist()
        found |= {(r["entity"], micros(r["time"])): (r["score"], r["raw"], r["flag"]) for r in table}
    assert reused > 10
    assert watermark == last
    same(found, {key: value for key, value in whole.items() if key[1] >= micros(begun)})


def test_rows_that_wait_have_no_score_and_then_never_change(pumps):
    scorer, rows = scorer_of(pumps, lookahead=30, spans=(2, 8, 64), memory=60), plant()
    whole, seen = judged(scorer, rows, until=newest(rows)), {}
    assert scorer.settle / timedelta(minutes=1) == (1 + 4 + 30) + 3 + 1
    for minute in range(1200, 2200, 90):
        until = START + timedelta(minutes=minute)
        now = judged(scorer, between(rows, START, until), until=until)
        assert max(time for _, time in now) == micros(until - scorer.settle)
        same({key: now[key] for key in seen}, seen)
        same(now, {key: whole[key] for key in now})
        seen = now
    for one in scorer.judge(rows, until=newest(rows)):
        assert not one.scored.flag[np.isnan(one.scored.score)].any()


def test_what_is_waited_for_may_come_from_another_machine_and_need_not_come_at_all(pumps):
    """Pump b stops reporting: its last rows are scored once the others are far enough."""
    scorer, rows = scorer_of(pumps, lookahead=30, spans=(2, 8, 64), memory=60), plant()
    stop = START + timedelta(minutes=1500)
    mine = pa.compute.equal(rows["entity"], "a")
    less = rows.filter(pa.compute.or_(mine, pa.compute.less(rows["time"], pa.scalar(stop, TIME))))
    times = [time for entity, time in judged(scorer, less, until=newest(rows)) if entity == "b"]
    assert micros(stop) - 120_000_000 <= max(times) < micros(stop) + 5 * 60_000_000
