"""What a training says of itself, while it runs and when it is done; needs no Keras."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Epoch:
    """One pass over the training windows."""

    epoch: int
    """From 1."""
    loss: float
    """Mean squared error over observed cells, scaled units, with 5 % of the input hidden."""
    val_loss: float
    """The same on validation windows, nothing hidden."""
    lr: float
    """Learning rate the epoch had."""
    seconds: float


@dataclass(frozen=True)
class Trained:
    """A finished training."""

    history: dict[str, list[float]]
    """`loss`, `val_loss` and `lr`, one value for each epoch."""
    epochs: int
    """How many there were; the weights are those of the best."""
    seconds: float
    parameters: int
    """Numbers the model learned."""
    onnx_difference: float
    """Largest difference between Keras and ONNX on validation windows."""

    @property
    def best_epoch(self) -> int:
        """The epoch, from 1, whose weights were kept."""
        losses = self.history["val_loss"]
        return losses.index(min(losses)) + 1

    @property
    def val_loss(self) -> float:
        """Validation loss of the weights that were kept."""
        return min(self.history["val_loss"])
