"""Slices change nothing: a stream scored whole, in chunks, in any order or late has the same scores."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.config.models import parse_stream
from pipeline.learning import learn
from pipeline.schemas import TIME, records
from pipeline.scoring import Scorer, score_table

START = datetime(2026, 3, 1, tzinfo=UTC)
SENSOR = """{"name": "plant", "kind": "sensor", "source": {"path": "x"},
  "fields": {"entity": "pump", "channels": [{"name": "flow"}, {"name": "power"}]},
  "window": {"length": 12, "stride": 2, "delay": 3}, "model": {"units": [8], "latent": 4, "epochs": 2},
  "alert": {"false_alarms": "5/day"}}"""
CARDS = """{"name": "cards", "kind": "transaction", "source": {"path": "x"},
  "fields": {"id": "id", "entity": "card", "amount": "amount", "categories": ["shop"]},
  "window": {"length": 8, "stride": 1, "delay": 0, "context": "3d"},
  "model": {"units": [8], "latent": 4, "epochs": 2}, "alert": {"false_alarms": "5/day"}}"""


def plant():
    """Two pumps for a day and a half, irregular, with gaps short and long."""
    rng, parts = np.random.default_rng(0), []
    for pump in ("a", "b"):
        minute = np.flatnonzero(rng.random(2200) > 0.1)
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
