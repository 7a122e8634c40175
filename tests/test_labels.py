"""Delayed labels: they help once they are known, change nothing before, and no stream needs them."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from pipeline.config.models import parse_stream
from pipeline.learning import learn
from pipeline.schemas import TIME, records
from pipeline.scoring import Scorer, score_table

START, DAYS, DELAY = datetime(2026, 3, 1, tzinfo=UTC), 40, timedelta(days=3)
STREAM = """{"name": "cards", "kind": "transaction", "source": {"path": "x"},
  "fields": {"id": "id", "entity": "card", "amount": "amount", "categories": ["shop"], "label": "fraud",
  "label_delay": "3d"}, "window": {"length": 4, "stride": 1, "delay": 0, "context": "10d"},
  "model": {"units": [4], "latent": 2, "epochs": 1, "max_windows": 400},
  "alert": {"false_alarms": "5/day"}}"""


def payments():
    """Sixty cards in thirty shops for forty days; after a third of them, three shops go bad."""
    rng, count = np.random.default_rng(0), 4000
    second = np.sort(rng.integers(0, DAYS * 86400, count))
    shop = rng.integers(0, 30, count)
    fraud = (shop < 3) & (second > DAYS / 3 * 86400)
    base = int(START.timestamp() * 1e6)
    return pa.table(
        {
            "id": [f"t{i:05}" for i in range(count)],
            "entity": [f"card-{c}" for c in rng.integers(0, 60, count)],
            "time": pa.array(base + second * 1_000_000, pa.int64()).cast(TIME),
            "amount": np.round(rng.lognormal(3, 0.4, count), 2),
            "shop": [f"shop-{s}" for s in shop],
            "label": fraud.astype(float),
        }
    ).cast(records(parse_stream(STREAM)))


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    until = START + timedelta(days=30)
    rows = payments()
    past = rows.filter(pa.compute.less(rows["time"], pa.scalar(until, TIME)))
    return learn(parse_stream(STREAM), past, tmp_path_factory.mktemp("labels")), rows, until


def by_id(scores):
    return dict(zip(scores["id"].to_pylist(), scores["score"].to_pylist(), strict=True))


def test_a_shop_gone_bad_is_found_by_what_became_known(learned):
    made, rows, until = learned
    assert made.detector.confirmed_ is not None
    found = by_id(score_table(made.bundle, rows))
    late = rows.filter(pa.compute.greater_equal(rows["time"], pa.scalar(until, TIME)))
    score = np.array([found[i] for i in late["id"].to_pylist()])
    fraud = late["label"].to_numpy() > 0
    assert fraud[np.argsort(-score)[: fraud.sum()]].mean() > 0.9
    assert np.isfinite(score).all()


def test_a_label_inside_the_delay_changes_no_score(learned):
    made, rows, _ = learned
    young = rows["time"].cast("int64").to_numpy() > (START + timedelta(days=DAYS) - DELAY).timestamp() * 1e6
    label = np.where(young, 1 - rows["label"].to_numpy(), rows["label"].to_numpy())
    turned = rows.set_column(rows.column_names.index("label"), "label", pa.array(label))
    assert by_id(score_table(made.bundle, turned)) == by_id(score_table(made.bundle, rows))


def test_a_label_inside_the_delay_changes_nothing_that_is_learned(learned, tmp_path):
    made, rows, until = learned
    past = rows.filter(pa.compute.less(rows["time"], pa.scalar(until, TIME)))
    newest = pa.compute.max(past["time"]).as_py()
    young = past["time"].cast("int64").to_numpy() >= (newest - DELAY).timestamp() * 1e6
    label = np.where(young, 1 - past["label"].to_numpy(), past["label"].to_numpy())
    turned = past.set_column(past.column_names.index("label"), "label", pa.array(label))
    again = learn(parse_stream(STREAM), turned, tmp_path)
    assert again.bundle.detector == made.bundle.detector
    assert again.bundle.preparer == made.bundle.preparer


def test_slices_equal_the_whole(learned):
    made, rows, until = learned
    scorer = Scorer.of(made.bundle)
    near = rows.filter(pa.compute.greater_equal(rows["time"], pa.scalar(until - scorer.context, TIME)))
    part, whole = (by_id(score_table(made.bundle, t, start=until)) for t in (near, rows))
    assert part.keys() == whole.keys()
    np.testing.assert_allclose(list(part.values()), [whole[i] for i in part], rtol=1e-5, atol=1e-6)


def test_shards_with_every_entity_in_sight_equal_the_whole(learned):
    made, rows, _ = learned
    whole = by_id(score_table(made.bundle, rows))
    halves = [
        by_id(score_table(made.bundle, rows, mine=lambda e, odd=odd: (int(e[5:]) % 2 == 1) is odd))
        for odd in (False, True)
    ]
    assert not halves[0].keys() & halves[1].keys()
    joined = halves[0] | halves[1]
    assert joined.keys() == whole.keys()
    np.testing.assert_allclose(list(joined.values()), [whole[i] for i in joined], rtol=1e-5, atol=1e-6)


def test_a_stream_without_labels_needs_none(learned, tmp_path):
    _, rows, _ = learned
    stream = parse_stream(STREAM)
    plain = stream.model_copy(update={"fields": stream.fields.model_copy(update={"label": None})})
    made = learn(plain, rows.drop_columns(["label"]), tmp_path)
    assert made.detector.confirmed_ is None
    assert np.isfinite(score_table(made.bundle, rows.drop_columns(["label"]))["score"].to_numpy()).all()


def test_unknown_labels_are_no_honest_ones(learned, tmp_path):
    _, rows, _ = learned
    unknown = rows.set_column(rows.column_names.index("label"), "label", pa.nulls(len(rows), pa.float64()))
    made = learn(parse_stream(STREAM), unknown, tmp_path)
    assert made.detector.confirmed_ is None
