"""What the architectures share: the input with its mask, stacks of layers on both sides of the code.

In: symbolic tensors. Out: symbolic tensors; nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import layers

from pipeline.config.models import Model as ModelConfig

Tensor = Any  # a KerasTensor; Keras ships no types
Views = dict[str, Tensor]
Recurrent = Callable[..., Any]
"""Makes a recurrent layer: `make(units, return_sequences=..., name=...)`."""


def seen(values: Tensor, mask: Tensor) -> Tensor:
    """Return `[values * mask, mask]`, [n, L, 2F]: nothing of an unobserved cell, and that it is one."""
    return layers.Concatenate(name="seen")([layers.Multiply(name="observed")([values, mask]), mask])


def encode(config: ModelConfig, x: Tensor, make: Recurrent = layers.LSTM, *, whole: bool = False) -> Tensor:
    """Stack `config.units` layers, outermost first, with `config.dropout` on the output of each.

    Returns:
        The last layer's output at the last step [n, H]; at every step [n, L, H] if `whole`.
    """
    last = len(config.units) - 1
    for depth, units in enumerate(config.units):
        x = make(units, return_sequences=whole or depth < last, name=f"encoder_{depth}")(x)
        x = layers.Dropout(config.dropout, name=f"dropout_{depth}")(x) if config.dropout else x
    return x


def decode(config: ModelConfig, last: Tensor, length: int, make: Recurrent = layers.LSTM) -> Tensor:
    """Squeeze the encoder's last output [n, H] into the code, and unfold that into [n, length, units[0]].

    The code is `z = W_z h + b_z`, `config.latent` wide; it is given to the decoder at every step, and the
    decoder's layers are the encoder's in reverse.
    """
    x = layers.RepeatVector(length, name="repeat")(layers.Dense(config.latent, name="latent")(last))
    for depth, units in reversed(list(enumerate(config.units))):
        x = make(units, return_sequences=True, name=f"decoder_{depth}")(x)
    return x


def final(steps: Tensor) -> Tensor:
    """Return the last step [n, H] of [n, L, H]."""
    kept = layers.Cropping1D((steps.shape[1] - 1, 0), name="last")(steps)
    return layers.Reshape((steps.shape[2],), name="last_step")(kept)


def before(steps: Tensor, name: str = "before") -> Tensor:
    """Return [n, L, H] one step later, zeros first: row t is what was known before row t came."""
    shifted = layers.ZeroPadding1D((1, 0), name=f"{name}_nothing_first")(steps)
    return layers.Cropping1D((0, 1), name=name)(shifted)


def as_features(steps: Tensor, features: int, view: str = "reconstruction") -> Tensor:
    """Map [n, L, H] linearly to a view [n, L, F]."""
    return layers.Dense(features, name=view)(steps)
