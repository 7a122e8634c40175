"""Channels that somebody sets: known by their values or by name, forgiven their steps, seen by the model."""

import numpy as np
import pytest

from pipeline.config.models import Channel, SensorFields
from pipeline.errors import BundleError
from pipeline.prepare import load_preparer, new_preparer

ROWS = 2000
SECONDS = np.arange(ROWS) * 60
FLOW = np.random.default_rng(0).normal(50, 5, ROWS)


def stream(make, role="auto", channels=2):
    named = tuple(Channel(name=f"c{i}", role=role if i == 1 else "auto") for i in range(channels))
    return make.sensor(channels).model_copy(update={"fields": SensorFields(channels=named)})


def switched(share, low=0.0, high=1.0, seed=1):
    return np.where(np.random.default_rng(seed).random(ROWS) < share, high, low)


def fitted(make, valve, role="auto", entity="a", seconds=SECONDS, flow=FLOW):
    return new_preparer(stream(make, role)).fit(make.readings(entity, seconds, flow, valve))


def scaled(make, preparer, *valve, entity="a"):
    """Scaled values of the second channel, as they are compared with what a model makes of them."""
    count = len(valve)
    (series,) = preparer.transform(make.readings(entity, np.arange(count) * 60, [50.0] * count, valve))
    return series.values[:, 1].tolist()


@pytest.mark.parametrize("share", [0.5, 0.2, 0.01, 0.001])
@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 100), (-3, 7), (1e6, 1e6 + 1)])
def test_a_channel_with_two_values_is_forgiven_its_own_step(make, share, low, high):
    preparer = fitted(make, switched(share, low, high))
    closed, opened = scaled(make, preparer, low, high)
    flow, valve = preparer.slack_
    assert flow == 0
    assert valve > 1.5 * abs(opened - closed)


@pytest.mark.parametrize("share", [0.5, 0.2, 0.01])
@pytest.mark.parametrize("steps", [6, -6, 100])
def test_a_third_value_far_off_is_not_forgiven(make, share, steps):
    preparer = fitted(make, switched(share))
    closed, opened, third = scaled(make, preparer, 0, 1, steps)
    assert min(abs(third - closed), abs(third - opened)) > preparer.slack_[1]


@pytest.mark.parametrize("valve", [np.full(ROWS, 3.0), np.full(ROWS, np.nan), FLOW, np.arange(ROWS) % 3])
def test_what_never_moved_or_has_more_values_is_measured(make, valve):
    assert fitted(make, valve).slack_.tolist() == [0, 0]


def test_a_channel_is_what_its_role_says(make):
    assert fitted(make, switched(0.5), role="measured").slack_.tolist() == [0, 0]
    setpoint = np.random.default_rng(2).choice([20.0, 40.0, 45.0, 60.0], ROWS)
    preparer = fitted(make, setpoint, role="command")
    assert preparer.slack_[0] == 0
    assert preparer.slack_[1] > abs(np.subtract(*scaled(make, preparer, 20, 60)))


def test_readings_that_are_missing_make_no_third_value(make):
    valve = switched(0.5)
    valve[::7] = np.nan
    assert fitted(make, valve).slack_[1] > 0


def test_a_step_is_forgiven_on_every_machine(make):
    """The second machine hardly ever opens its valve: its own scale is another."""
    valve = np.concatenate([switched(0.5), switched(0.01)])
    names = ["a"] * ROWS + ["b"] * ROWS
    preparer = fitted(make, valve, entity=names, seconds=np.tile(SECONDS, 2), flow=np.tile(FLOW, 2))
    steps = [abs(np.subtract(*scaled(make, preparer, 0, 1, entity=name))) for name in "ab"]
    assert steps[0] != pytest.approx(steps[1])
    assert preparer.slack_[1] > max(steps)


def test_a_command_is_a_feature_like_any_other(make):
    preparer = fitted(make, switched(0.5))
    assert preparer.features_.names == ("c0", "c1")
    (series,) = preparer.transform(make.readings("a", [0, 60], [50, 50], [0, 1]))
    assert series.mask.all()
    assert series.values[0, 1] != series.values[1, 1]


def test_values_after_training_make_no_command_of_a_channel_nor_unmake_one(make):
    table = make.readings("a", SECONDS, FLOW, np.where(np.arange(ROWS) < 1000, switched(0.5), FLOW))
    early = new_preparer(stream(make)).fit(table, until=1000 * 60_000_000)
    assert early.slack_[1] > 0
    assert new_preparer(stream(make)).fit(table).slack_[1] == 0


def test_a_restored_preparer_forgives_as_much(make):
    fresh = fitted(make, switched(0.2))
    again = load_preparer(stream(make), fresh.to_dict())
    np.testing.assert_array_equal(again.slack_, fresh.slack_)


@pytest.mark.parametrize("step", [None, [1.0], [0.0, -1.0], [0.0, float("nan")], ["x", "y"], [[0.0, 1.0]]])
def test_damaged_steps_are_refused(make, step):
    saved = fitted(make, switched(0.5)).to_dict()
    with pytest.raises(BundleError, match="steps of commands"):
        load_preparer(stream(make), {**saved, "step": step})


def test_payments_have_no_commands(make):
    preparer = new_preparer(make.cards()).fit(make.payments(300))
    assert preparer.slack_.tolist() == [0] * len(preparer.stream.channels)
