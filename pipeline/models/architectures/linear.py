"""The linear counterparts of an autoencoder, in the same graph: what a network has to be better than.

In: windows. Out: two views more, and their weights in closed form. A network that was trained briefly, or on
little, errs in ways of its own; where it and the linear views agree that a row is odd, it is.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.utils.extmath import randomized_svd

from pipeline.config.models import Model as ModelConfig
from pipeline.models.architectures.parts import Tensor, Views, before
from pipeline.models.windows import WindowSource, clean

LAGS = 8  # rows the linear prediction is made from
PENALTY = 1.0  # of the ridge regression, in squared scaled units
MOST_WINDOWS = 4096  # are enough for a linear fit

Floats = NDArray[np.float32]


def linear(config: ModelConfig, values: Tensor, mask: Tensor) -> Views:
    r"""Reconstruct a window by principal components, and predict each row by autoregression.

    With x the window's observed values as one vector, mu their mean, and V the `latent` leading principal
    components of training windows,

        x' = mu + V V^T (x - mu)                      linear_reconstruction

    which is the best a linear autoencoder can do (Baldi & Hornik 1989). With x_t the values of row t,

        x_t' = b + sum_i A_i x_(t-i),  i = 1..8       linear_prediction

    a vector autoregression fitted by ridge regression (Hoerl & Kennard 1970). `fit_linear` sets the weights.

    Args:
        config: `latent` components.
        values: Symbolic [n, L, F].
        mask: Symbolic [n, L, F], 1 where observed.

    Returns:
        "linear_reconstruction" and "linear_prediction", symbolic [n, L, F].
    """
    length, features = values.shape[1], values.shape[2]
    seen = layers.Multiply(name="linear_seen")([values, mask])
    code = layers.Dense(components(config, length, features), name="linear_code", trainable=False)
    made = layers.Dense(length * features, name="linear_decode", trainable=False)
    ahead = layers.Conv1D(features, lags(length), padding="causal", name="linear_ahead", trainable=False)
    flat = layers.Reshape((length * features,), name="linear_flat")(seen)
    return {
        "linear_reconstruction": layers.Reshape((length, features), name="linear_reconstruction")(
            made(code(flat))
        ),
        "linear_prediction": before(ahead(seen), "linear_prediction"),
    }


def components(config: ModelConfig, length: int, features: int) -> int:
    """Return how many principal components are kept."""
    return min(config.latent, length * features)


def lags(length: int) -> int:
    """Return from how many rows the next is predicted."""
    return min(LAGS, length - 1)


def fit_linear(model: keras.Model, windows: WindowSource, seed: int) -> None:
    """Set the weights of the linear views from training windows; the same windows give the same weights."""
    idx = np.unique(np.linspace(0, len(windows) - 1, min(len(windows), MOST_WINDOWS)).astype(np.int64))
    seen, _ = clean(*windows.gather(idx))
    _fit_components(model, seen.reshape(len(seen), -1), seed)
    _fit_autoregression(model, seen)


def _fit_components(model: keras.Model, flat: Floats, seed: int) -> None:
    code, decode = model.get_layer("linear_code"), model.get_layer("linear_decode")
    mean, kept = flat.mean(axis=0), min(code.units, *flat.shape)
    v = np.zeros((code.units, flat.shape[1]), np.float32)
    v[:kept] = randomized_svd(flat - mean, kept, random_state=seed)[2]
    code.set_weights([v.T, -v @ mean])
    decode.set_weights([v, mean])


def _fit_autoregression(model: keras.Model, seen: Floats) -> None:
    ahead = model.get_layer("linear_ahead")
    past = ahead.kernel_size[0]
    earlier, last = seen[:, -past - 1 : -1], seen[:, -1]
    fitted = Ridge(PENALTY).fit(earlier.reshape(len(seen), -1), last)
    weights = np.reshape(fitted.coef_, (last.shape[1], past, last.shape[1]))
    ahead.set_weights([weights.transpose(1, 2, 0), np.reshape(fitted.intercept_, -1)])
