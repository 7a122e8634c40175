"""The autoencoders a stream's YAML can name, built from `keras` and `keras.ops` alone.

In: the stream's model config and the window's shape. Out: an uncompiled Keras model. A new architecture
is one function and one line in `ARCHITECTURES`; `tests/models` holds it to what every one promises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import Input, Model, layers

from pipeline.config.models import Model as ModelConfig
from pipeline.errors import DataError

Tensor = Any  # a KerasTensor; Keras ships no types


def build(config: ModelConfig, length: int, features: int) -> Model:
    """Build the autoencoder a stream asks for.

    Args:
        config: The stream's `model` section; `architecture` picks the builder.
        length: Steps in a window, L.
        features: Features at each step, F.

    Returns:
        An uncompiled model from `{"values": [n, L, F], "mask": [n, L, F]}`, float32, mask 1 where
        observed, to the reconstruction [n, L, F].

    Raises:
        DataError: If no architecture has that name.

    Example:
        >>> build(ModelConfig(units=(8,), latent=4), length=16, features=3).output_shape
        (None, 16, 3)
    """
    builder = ARCHITECTURES.get(config.architecture)
    if builder is None:
        raise DataError(f"no architecture {config.architecture!r}; known: {', '.join(sorted(ARCHITECTURES))}")
    values, mask = Input((length, features), name="values"), Input((length, features), name="mask")
    return Model({"values": values, "mask": mask}, builder(config, values, mask))


def lstm(config: ModelConfig, values: Tensor, mask: Tensor) -> Tensor:
    r"""Reconstruct a window through a narrow code, with stacked LSTMs on both sides of it.

    Each step's input is `x = [values * mask, mask]`, so that an unobserved cell says it is one. At each
    step a layer of LSTM units (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000)
    computes, from its input x and its own last output h and cell state c,

        i = sigmoid(W_i x + U_i h + b_i)        what to let in
        f = sigmoid(W_f x + U_f h + b_f)        what to keep
        o = sigmoid(W_o x + U_o h + b_o)        what to show
        g = tanh(W_g x + U_g h + b_g)           what is new
        c' = f * c + i * g
        h' = o * tanh(c')

    The encoder's last h becomes the code `z = W_z h + b_z`, `latent` wide. The decoder is given z at every
    step, mirrors the encoder's layers, and a linear layer maps its outputs back to the F features. This is
    the encoder-decoder for anomaly detection of Malhotra et al. 2016 (arXiv:1607.00148), with two changes:
    the decoder reads the code and not its own last output, so that a whole window is decoded at once and
    early errors do not feed later ones; and the window is decoded in its own order.

    Args:
        config: `units`, outermost layer first; `latent`; `dropout` on each encoder layer's output.
        values: Symbolic [n, L, F].
        mask: Symbolic [n, L, F], 1 where observed.

    Returns:
        The symbolic reconstruction [n, L, F].
    """
    length, features = values.shape[1], values.shape[2]
    x = layers.Concatenate(name="seen")([layers.Multiply(name="observed")([values, mask]), mask])
    last = len(config.units) - 1
    for depth, units in enumerate(config.units):
        x = layers.LSTM(units, return_sequences=depth < last, name=f"encoder_{depth}")(x)
        x = layers.Dropout(config.dropout, name=f"dropout_{depth}")(x) if config.dropout else x
    x = layers.RepeatVector(length, name="repeat")(layers.Dense(config.latent, name="latent")(x))
    for depth, units in reversed(list(enumerate(config.units))):
        x = layers.LSTM(units, return_sequences=True, name=f"decoder_{depth}")(x)
    return layers.Dense(features, name="reconstruction")(x)


ARCHITECTURES: dict[str, Callable[[ModelConfig, Tensor, Tensor], Tensor]] = {
    "lstm": lstm,
}
