"""Convolution over time, then LSTM.

In: the model config, and values and mask [n, L, F]. Out: the reconstruction.
"""

from __future__ import annotations

from keras import layers

from pipeline.config.models import Model as ModelConfig
from pipeline.models.architectures.parts import Tensor, Views, as_features, decode, encode, seen

KERNEL = 5  # rows a convolution sees
STRIDE = 2  # rows that become one step


def conv_lstm(config: ModelConfig, values: Tensor, mask: Tensor) -> Views:
    r"""Reconstruct as `lstm` does, from short patterns in place of rows.

    The C-LSTM of Zhou et al. 2015 (arXiv:1511.08630), for anomalies Kim & Cho 2018 ("Web traffic anomaly
    detection using C-LSTM neural networks"), as an autoencoder. `units[0]` filters K, five rows long, go over
    time two rows at a stride, which halves the steps that the LSTMs have to remember across:

        s_t = tanh(sum_k K_k x_{2t+k} + b_K)        k = -2 ... 2, zeros beyond the window's ends
        z   = W_z LSTM(s) + b_z                     as in `lstm`
        d   = LSTM(z, z, ...)                       ceil(L / 2) steps
        u_t = tanh(sum_k D_k d_{floor((t+k)/2)} + b_D)
        r_t = W_r u_t + b_r

    The convolution is over time alone. ConvLSTM (Shi et al. 2015, arXiv:1506.04214; for anomalies MSCRED,
    Zhang et al. 2019, arXiv:1811.08055) convolves over a grid of neighbours at each step; the features of a
    stream have no neighbours, their order means nothing, and a model must not depend on it.

    Args:
        config: `units`, outermost layer first, the first also the number of filters; `latent`; `dropout`.
        values: Symbolic [n, L, F].
        mask: Symbolic [n, L, F], 1 where observed.

    Returns:
        The symbolic reconstruction [n, L, F].
    """
    length, features = values.shape[1], values.shape[2]
    patterns = layers.Conv1D(
        config.units[0], KERNEL, strides=STRIDE, padding="same", activation="tanh", name="patterns"
    )(seen(values, mask))
    steps = layers.UpSampling1D(STRIDE, name="stretch")(
        decode(config, encode(config, patterns), patterns.shape[1])
    )
    rows = layers.Cropping1D((0, steps.shape[1] - length), name="whole")(steps)
    rows = layers.Conv1D(config.units[0], KERNEL, padding="same", activation="tanh", name="rows")(rows)
    return {"reconstruction": as_features(rows, features)}
