"""Train an autoencoder on windows of normal data, seeded, and write it as Keras and as ONNX.

In: a model config and two sources of windows. Out: `model.keras` and `model.onnx` in a folder, checked to
agree, and what there is to say of the training.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import callbacks, ops
from numpy.typing import NDArray

from pipeline.config.models import Model as ModelConfig
from pipeline.errors import DataError, NotEnoughData
from pipeline.models import export
from pipeline.models.architectures import build
from pipeline.models.architectures.linear import fit_linear
from pipeline.models.progress import Epoch, Trained
from pipeline.models.reconstruct import VIEWS
from pipeline.models.windows import WindowSource, clean, hide_latest

HIDDEN = 0.05  # share of observed cells hidden from the input while training
LEARNED = VIEWS[:2]  # by gradient descent; the linear views are fitted
STEPS = 32  # an epoch has at least so many steps, where there are windows enough
_CHECKED = 256  # windows on which ONNX is held against Keras


def train(
    config: ModelConfig,
    train: WindowSource,
    validation: WindowSource,
    out: Path,
    *,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Trained:
    """Train an autoencoder and write it to `out/model.keras` and `out/model.onnx`.

    The loss is the mean squared error over observed cells, averaged over the views the model gives. While
    training, 5 % of the observed cells are hidden from the input but still asked for in the output: the
    model learns to lean on the other cells (a denoising autoencoder, Vincent et al. 2008), and a gap met when
    scoring is nothing new to it. Stops early when the validation loss has not improved for `config.patience`
    epochs, keeps the best weights, and halves the learning rate half as patiently. The same seed gives the
    same weights on one machine.

    Args:
        config: The stream's `model` section.
        train: Windows to learn from.
        validation: Windows to stop by, held out in time.
        out: Folder to write into; made if it is not there.
        on_epoch: Called after each epoch.

    Returns:
        Losses by epoch, time taken, size, and how far ONNX is from Keras.

    Raises:
        NotEnoughData: If either source is empty.
        DataError: If the loss stops being a finite number.
        BundleError: If ONNX and Keras differ by more than 1e-5.
    """
    began = time.perf_counter()
    _check(train, validation)
    keras.utils.clear_session()  # one process may train a model for each of many entities
    keras.utils.set_random_seed(config.seed)
    model = build(config, *train.gather(np.zeros(1, np.int64))[0].shape[1:])
    if config.linear:
        fit_linear(model, train, config.seed)
    history = _fit(model, config, train, validation, on_epoch)
    checked = clean(*validation.gather(np.arange(min(_CHECKED, len(validation)))))
    gap = _write(model, out, checked)
    parameters = int(model.count_params())
    del model
    gc.collect()
    return Trained(history, len(history["loss"]), time.perf_counter() - began, parameters, gap)


def _check(train: WindowSource, validation: WindowSource) -> None:
    for name, source in (("train on", train), ("validate with", validation)):
        if not len(source):
            raise NotEnoughData(f"no windows to {name}: more history, a shorter window or less holdout")


def _fit(
    model: keras.Model,
    config: ModelConfig,
    train: WindowSource,
    validation: WindowSource,
    on_epoch: Callable[[Epoch], None] | None,
) -> dict[str, list[float]]:
    # Compiled apart, so that the saved model carries no loss of ours that loading would have to know.
    views = [view for view in LEARNED if view in model.output]
    trainer = keras.Model(model.input, ops.concatenate([model.output[view] for view in views], axis=-1))
    optimizer = keras.optimizers.Adam(config.learning_rate, clipnorm=1.0)
    trainer.compile(optimizer=optimizer, loss=loss_over(views))
    size = min(config.batch_size, max(8, len(train) // STEPS))
    watch = _Watch(on_epoch or (lambda _: None))
    trainer.fit(
        Batches(train, size, seed=config.seed, hide=config.hide),
        validation_data=Batches(validation, max(size, 128), hide=config.hide),
        epochs=config.epochs,
        shuffle=False,  # Batches does, from the seed
        verbose=0,
        callbacks=[
            watch,
            callbacks.ReduceLROnPlateau(factor=0.5, patience=max(1, config.patience // 2)),
            callbacks.EarlyStopping(patience=config.patience, restore_best_weights=True),
        ],
    )
    return watch.history


def _write(model: keras.Model, out: Path, checked: tuple[NDArray[np.float32], NDArray[np.float32]]) -> float:
    out.mkdir(parents=True, exist_ok=True)
    model.save(out / "model.keras")
    graph = export.to_onnx(model)
    gap = export.difference(model, graph, checked)
    (out / "model.onnx").write_bytes(graph)
    return gap


def loss_over(views: Sequence[str]) -> Callable[[Any, Any], Any]:
    """Return the loss of a model that gives `views`: the mean of each view's own `masked_mse`.

    Row 0 of a prediction is made from nothing and does not count.

    Returns:
        A function of the target [n, L, 2F], values and then their mask, and of the views [n, L, VF], one
        after the other on the last axis.
    """

    def loss(target: Any, made: Any) -> Any:
        parts = zip(views, ops.split(made, len(views), axis=-1), strict=True)
        firsts = ((int(view == "prediction"), part) for view, part in parts)
        return sum(masked_mse(target[:, first:], part[:, first:]) for first, part in firsts) / len(views)

    return loss


def masked_mse(target: Any, reconstruction: Any) -> Any:
    """Return the mean squared error over observed cells.

    Args:
        target: [n, L, 2F], values and then their mask.
        reconstruction: [n, L, F].

    Returns:
        A scalar; 0 where nothing was observed.
    """
    values, mask = ops.split(target, 2, axis=-1)
    return ops.sum(mask * ops.square(values - reconstruction)) / ops.maximum(ops.sum(mask), 1.0)


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras ships no types
    """Windows as Keras takes them, gathered a batch at a time, so that memory stays small.

    Args:
        source: Where windows come from.
        size: Windows in a batch.
        seed: Shuffle, and hide cells, from this seed; in order and whole when None.
        hide: Rows at the end of each window that are hidden from the input, not from the target.

    Example:
        >>> from pipeline.models.windows import ArrayWindows
        >>> ones = np.ones((8, 2), np.float32)
        >>> inputs, target = Batches(ArrayWindows(ones, ones, np.arange(5), 4), size=4)[1]
        >>> inputs["values"].shape, target.shape
        ((1, 4, 2), (1, 4, 4))
    """

    def __init__(self, source: WindowSource, size: int, *, seed: int | None = None, hide: int = 0) -> None:
        super().__init__()
        self._latest = hide
        self._source, self._size, self._seed, self._epoch = source, size, seed, 0
        self._order = self._shuffled()

    def __len__(self) -> int:
        return math.ceil(len(self._source) / self._size)

    def __getitem__(self, index: int) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
        """Return one batch: inputs by name, and the target that `masked_mse` takes."""
        idx = self._order[index * self._size : (index + 1) * self._size]
        values, mask = clean(*self._source.gather(idx))
        target = np.concatenate([values, mask], axis=-1)
        seen = hide_latest(self._hide(mask, index), self._latest)
        return {"values": values, "mask": seen}, target

    def on_epoch_end(self) -> None:
        """Shuffle anew."""
        self._epoch += 1
        self._order = self._shuffled()

    def _shuffled(self) -> NDArray[np.int64]:
        order = np.arange(len(self._source))
        return (
            order
            if self._seed is None
            else np.random.default_rng((self._seed, self._epoch)).permutation(order)
        )

    def _hide(self, mask: NDArray[np.float32], index: int) -> NDArray[np.float32]:
        if self._seed is None:
            return mask
        chance = np.random.default_rng((self._seed, self._epoch, index)).random(mask.shape, np.float32)
        return mask * (chance >= HIDDEN)


class _Watch(callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Tells of each epoch, and stops a training that has lost its way."""

    def __init__(self, on_epoch: Callable[[Epoch], None]) -> None:
        super().__init__()
        self.history: dict[str, list[float]] = {"loss": [], "val_loss": [], "lr": []}
        self._on_epoch, self._began = on_epoch, 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        seen = {"loss": float(logs["loss"]), "val_loss": float(logs["val_loss"])}
        seen["lr"] = float(ops.convert_to_numpy(self.model.optimizer.learning_rate))
        if not (math.isfinite(seen["loss"]) and math.isfinite(seen["val_loss"])):
            raise DataError(
                f"training diverged: the loss was {seen['loss']}, on validation {seen['val_loss']}, "
                f"in epoch {epoch + 1}; lower `model.learning_rate`, or look at the history for extremes"
            )
        for name, value in seen.items():
            self.history[name].append(value)
        self._on_epoch(Epoch(epoch + 1, **seen, seconds=time.perf_counter() - self._began))
