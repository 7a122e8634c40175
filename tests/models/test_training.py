"""Training: what it learns from, when it stops, and how it says that it cannot go on."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import BundleError, DataError, NotEnoughData
from pipeline.models import export
from pipeline.models.architectures import build
from pipeline.models.training import HIDDEN, Batches, loss_over, masked_mse, train
from pipeline.models.windows import ArrayWindows, clean


@pytest.fixture
def nothing(make_waves):
    some = make_waves(100, seed=1)
    return ArrayWindows(some.values, some.mask, some.starts[:0], some.length)


def test_the_loss_is_the_mean_over_observed_cells_only():
    values = np.array([[[1.0, 99.0], [3.0, 0.0]]], np.float32)
    mask = np.array([[[1.0, 0.0], [1.0, 0.0]]], np.float32)
    loss = masked_mse(np.concatenate([values, mask], -1), np.zeros_like(values))
    assert float(loss) == pytest.approx((1 + 9) / 2)


def test_a_batch_with_nothing_observed_has_loss_0():
    nothing = np.zeros((2, 3, 4), np.float32)
    assert float(masked_mse(nothing, np.ones((2, 3, 2), np.float32))) == 0


def test_the_loss_is_the_mean_over_views_and_a_prediction_from_nothing_does_not_count():
    values, mask = np.ones((1, 3, 2), np.float32), np.array([[[1, 1], [1, 0], [1, 1]]], np.float32)
    reconstruction, prediction = values + 2, values + 3
    prediction[:, 0] += 99
    made = np.concatenate([reconstruction, prediction], -1)
    loss = loss_over(["reconstruction", "prediction"])(np.concatenate([values, mask], -1), made)
    assert float(loss) == pytest.approx((2**2 + 3**2) / 2)
    alone = loss_over(["reconstruction"])(np.concatenate([values, mask], -1), reconstruction)
    assert float(alone) == pytest.approx(2**2)


def test_the_loss_pulls_only_on_observed_cells(make_config):
    import tensorflow as tf

    guess = tf.Variable(np.ones((1, 2, 2), np.float32))
    with tf.GradientTape() as tape:
        loss = masked_mse(np.array([[[0, 0, 1, 0], [0, 0, 0, 1]]], np.float32), guess)
    assert np.array_equal(tape.gradient(loss, guess).numpy() != 0, [[[True, False], [False, True]]])


def test_about_a_twentieth_of_observed_cells_is_hidden_and_still_asked_for(make_waves):
    source = make_waves(2000, seed=1, gaps=0.3)
    inputs, target = Batches(source, len(source), seed=3)[0]
    observed = target[..., 3:]
    hidden = observed - inputs["mask"]
    assert hidden.min() == 0
    assert hidden.sum() / observed.sum() == pytest.approx(HIDDEN, rel=0.1)


def test_validation_hides_nothing_and_keeps_its_order(make_waves, all_of):
    source = make_waves(200, seed=1)
    batches = Batches(source, 32)
    inputs = [batches[i][0] for i in range(len(batches))]
    values, mask = clean(*all_of(source))
    assert np.array_equal(np.concatenate([i["values"] for i in inputs]), values)
    assert np.array_equal(np.concatenate([i["mask"] for i in inputs]), mask)


def test_each_epoch_sees_every_window_once_in_a_new_order(make_waves, all_of):
    source = make_waves(200, seed=1)
    batches = Batches(source, 32, seed=5)

    def seen():
        return np.concatenate([batches[i][1] for i in range(len(batches))])

    first = seen()
    batches.on_epoch_end()
    second = seen()
    assert not np.array_equal(first, second)
    for epoch in (first, second):
        assert sorted(map(bytes, epoch[..., :3].copy())) == sorted(map(bytes, clean(*all_of(source))[0]))


def test_each_epoch_is_told_as_it_ends_and_windows_come_a_batch_at_a_time(make_config, make_waves, tmp_path):
    told, asked = [], []

    class Counted(ArrayWindows):
        def gather(self, idx):
            asked.append(len(idx))
            return super().gather(idx)

    source, out = make_waves(2000, seed=1), tmp_path / "deep" / "out"
    counted = Counted(source.values, source.mask, source.starts, source.length)
    trained = train(
        make_config(epochs=2, batch_size=16), counted, make_waves(100, seed=2), out, on_epoch=told.append
    )
    assert max(asked) == 16
    assert [e.epoch for e in told] == [1, 2]
    assert [e.loss for e in told] == trained.history["loss"]
    assert [e.val_loss for e in told] == trained.history["val_loss"]
    assert [e.lr for e in told] == trained.history["lr"]
    assert trained.seconds > sum(e.seconds for e in told) > 0
    assert {p.name for p in out.iterdir()} == {"model.keras", "model.onnx"}


def test_a_training_that_no_longer_improves_slows_down_then_stops(make_config, make_waves, tmp_path):
    config = make_config(epochs=60, patience=2, learning_rate=0.5)
    trained = train(config, make_waves(300, seed=1), make_waves(100, seed=2), tmp_path)
    assert trained.epochs < 60
    assert trained.epochs == trained.best_epoch + 2
    assert trained.history["lr"][-1] < 0.5


@pytest.mark.parametrize("empty", ["train", "validation"])
def test_no_windows_is_said_before_anything_is_built(make_config, make_waves, nothing, tmp_path, empty):
    data = {"train": make_waves(100, seed=1), "validation": make_waves(100, seed=2)} | {empty: nothing}
    with pytest.raises(NotEnoughData, match="more history"):
        train(make_config(), **data, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_loss_that_is_not_finite_is_a_clear_error(make_config, make_waves, tmp_path):
    wild = make_waves(200, seed=1)
    huge = ArrayWindows(wild.values * np.float32(1e30), wild.mask, wild.starts, wild.length)
    with pytest.raises(DataError, match=r"diverged: the loss was .*epoch 1; lower `model.learning_rate`"):
        train(make_config(), huge, huge, tmp_path / "out")
    assert not (tmp_path / "out" / "model.onnx").exists()


def test_an_export_that_differs_from_keras_is_refused(bundled, make_waves, all_of):
    values, mask = all_of(make_waves(100, seed=3))
    stranger = build(bundled.config, bundled.train.length, values.shape[2])
    graph = (bundled.folder / "model.onnx").read_bytes()
    with pytest.raises(BundleError, match=r"differs from Keras by .* more than 1e-05"):
        export.difference(stranger, graph, (values, mask))
