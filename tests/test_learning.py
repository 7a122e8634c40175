"""From a stream's history to a detector: short or long, with anomalies in it, with commands in it."""

import json
import resource
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from pipeline.config.models import parse_stream
from pipeline.errors import NotEnoughData
from pipeline.learning import learn
from pipeline.schemas import TIME, records
from pipeline.scoring import Scorer

MINUTE = 60_000_000
START = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp() * 1e6)
QUICK = {"units": [16], "latent": 4, "epochs": 8}


def stream(channels, **model):
    return parse_stream(
        json.dumps(
            {
                "name": "plant",
                "kind": "sensor",
                "source": {"path": "x"},
                "fields": {"channels": [{"name": name} for name in channels]},
                "window": {"length": 16, "stride": 4, "delay": 3},
                "model": QUICK | model,
                "alert": {"false_alarms": "1/day"},
            }
        )
    )


def history(plant, **channels):
    rows = len(next(iter(channels.values())))
    time = pa.array(START + np.arange(rows) * MINUTE, pa.int64()).cast(TIME)
    columns = {"entity": pa.array(["a"] * rows), "time": time} | channels
    return pa.table({name: pa.array(columns[name]) for name in records(plant).names})


def waves(rows, seed=0):
    noise = np.random.default_rng(seed).normal(0, 0.1, (rows, 2))
    return {name: np.sin(np.arange(rows) / (20 + 7 * i)) + noise[:, i] for i, name in enumerate("ab")}


def scored(learned, table):
    (judged,) = Scorer.of(learned.bundle).judge(table)
    return judged


def faulty(rows=3000, at=2000, length=60):
    """A sensor comes loose: it trembles, and nothing else."""
    channels = waves(rows, seed=1)
    channels["a"][at : at + length] += np.random.default_rng(2).normal(0, 0.4, length)
    label = np.zeros(rows, bool)
    label[at : at + length] = True
    return channels, label


def test_five_hundred_rows_are_history_enough_to_find_a_fault(tmp_path):
    plant = stream("ab")
    learned = learn(plant, history(plant, **waves(500)), tmp_path)
    channels, label = faulty()
    judged = scored(learned, history(plant, **channels)).scored
    assert judged.flag[label].mean() > 0.2
    assert judged.flag[:2000].mean() < 0.01


def test_a_history_too_short_is_refused_and_says_so(tmp_path):
    plant = stream("ab")
    with pytest.raises(NotEnoughData):
        learn(plant, history(plant, **waves(100)), tmp_path)


def contaminated(share, rows=8000, length=25):
    """History with short violent faults in so many of its rows; windows and looks touch twice as many."""
    channels, rng = waves(rows), np.random.default_rng(3)
    for at in np.linspace(100, rows - 100, int(rows * share / length)).astype(int):
        channels["ab"[rng.integers(2)]][at : at + length] += rng.choice([-1, 1]) * rng.uniform(2, 40)
    return channels


@pytest.fixture(scope="module")
def of_clean(tmp_path_factory):
    """A fault as judged by what learned from a clean history, and how well it is ranked."""
    return judged_after(waves(8000), tmp_path_factory.mktemp("clean"))


def judged_after(rows, folder):
    plant = stream("ab")
    channels, label = faulty()
    found = scored(learn(plant, history(plant, **rows), folder), history(plant, **channels)).scored
    seen = np.isfinite(found.score)
    return found.flag, label, roc_auc_score(label[seen], found.score[seen])


def test_three_percent_anomalies_in_the_history_ruin_neither_ranking_nor_threshold(of_clean, tmp_path):
    flag, label, rank = judged_after(contaminated(0.03), tmp_path)
    assert rank > of_clean[2] - 0.05
    assert flag[label].mean() > 0.6 * of_clean[0][label].mean()
    assert flag[:2000].mean() < 0.01


def test_five_percent_anomalies_in_the_history_do_not_ruin_the_ranking(of_clean, tmp_path):
    flag, _, rank = judged_after(contaminated(0.05), tmp_path)
    assert rank > of_clean[2] - 0.1
    assert flag[:2000].mean() < 0.01


def commanded(rows=6000, seed=0):
    """A valve that somebody opens and closes, and the flow and power that follow it."""
    rng = np.random.default_rng(seed)
    valve = (np.cumsum(rng.random(rows) < 0.02) % 2).astype(float)
    flow, power = 5 + 10 * valve + rng.normal(0, 0.3, rows), 2 + 3 * valve + rng.normal(0, 0.1, rows)
    return {"flow": flow, "power": power, "valve": valve}


@pytest.fixture(scope="module")
def valved(tmp_path_factory):
    plant = stream(("flow", "power", "valve"))
    return plant, learn(plant, history(plant, **commanded()), tmp_path_factory.mktemp("valved"))


def test_a_commands_own_steps_raise_no_score_and_a_value_it_never_had_does(valved):
    plant, learned = valved
    channels = commanded(3000, seed=1)
    channels["valve"][2000:2060] = 9.0
    judged = scored(learned, history(plant, **channels)).scored
    assert judged.flag[2010:2060].all()
    assert (judged.share[2010:2060].argmax(axis=1) == 2).mean() > 0.8
    steps = np.flatnonzero(np.diff(channels["valve"][:2000])) + 1
    assert len(steps) > 20
    assert np.nanmax(judged.share[steps, 2]) == 0
    assert judged.flag[:2000].mean() < 0.01


def test_a_command_is_context_for_what_follows_it(valved):
    plant, learned = valved
    channels = commanded(3000, seed=1)
    usual = scored(learned, history(plant, **channels)).rows.expected
    channels["valve"][1000:2000] = 1 - channels["valve"][1000:2000]
    flipped = scored(learned, history(plant, **channels)).rows.expected
    inside, before = slice(1020, 1980), slice(20, 980)
    assert np.abs(flipped - usual)[inside, 0].mean() > 0.5  # of the 10 by which flow follows
    np.testing.assert_array_equal(flipped[before], usual[before])


LONG = """
import resource, sys, tempfile
from pathlib import Path
from tests.test_learning import history, stream, waves
from pipeline.learning import learn
plant = stream("ab", max_windows=500, epochs=1)
table = history(plant, **waves(1_000_000))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with tempfile.TemporaryDirectory() as folder:
    learned = learn(plant, table, Path(folder))
rows = sum(len(r.series) for r in learned.held_out)
print(learned.windows, rows, before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_a_million_rows_are_learned_from_by_sampling_in_bounded_memory():
    done = subprocess.run(
        [sys.executable, "-c", LONG], capture_output=True, text=True, check=True, timeout=600
    )
    windows, held_out, before, after = map(int, done.stdout.split())
    assert windows == 500
    assert held_out > 200_000
    assert (after - before) / resource.getpagesize() < 250  # MiB: the table itself has 32
