"""The autoencoders a stream's YAML can name, built from `keras` and `keras.ops` alone.

In: the stream's model config and the window's shape. Out: an uncompiled Keras model. A new architecture
is one function, one line in `ARCHITECTURES`, one word in the config's `Model.architecture`, and where it uses
layers no other does, their names in `keras_file`; `tests/models` holds it to what every one promises.
"""

from __future__ import annotations

from collections.abc import Callable

from keras import Input, Model

from pipeline.config.models import Model as ModelConfig
from pipeline.errors import DataError
from pipeline.models.architectures.attention import attention_lstm
from pipeline.models.architectures.convolution import conv_lstm
from pipeline.models.architectures.linear import linear
from pipeline.models.architectures.parts import Tensor, Views
from pipeline.models.architectures.recurrent import bilstm, gru, lstm, peephole_lstm
from pipeline.models.architectures.regression import aer

ARCHITECTURES: dict[str, Callable[[ModelConfig, Tensor, Tensor], Views]] = {
    "lstm": lstm,
    "bilstm": bilstm,
    "gru": gru,
    "peephole_lstm": peephole_lstm,
    "conv_lstm": conv_lstm,
    "attention_lstm": attention_lstm,
    "aer": aer,
}


def build(config: ModelConfig, length: int, features: int) -> Model:
    """Build the autoencoder a stream asks for.

    Args:
        config: The stream's `model` section; `architecture` picks the builder.
        length: Steps in a window, L.
        features: Features at each step, F.

    Returns:
        An uncompiled model from `{"values": [n, L, F], "mask": [n, L, F]}`, float32, mask 1 where
        observed, to `{"reconstruction": [n, L, F]}`, and where the architecture predicts, "prediction" too:
        row t of it is made from rows before t of the window alone, row 0 from nothing. With
        `config.linear` the linear counterparts of both come besides.

    Raises:
        DataError: If no architecture has that name.

    Example:
        >>> build(ModelConfig(units=(8,), latent=4), length=16, features=3).output["reconstruction"].shape
        (None, 16, 3)
    """
    builder = ARCHITECTURES.get(config.architecture)
    if builder is None:
        raise DataError(f"no architecture {config.architecture!r}; known: {', '.join(sorted(ARCHITECTURES))}")
    values, mask = Input((length, features), name="values"), Input((length, features), name="mask")
    views = builder(config, values, mask) | (linear(config, values, mask) if config.linear else {})
    return Model({"values": values, "mask": mask}, views)
