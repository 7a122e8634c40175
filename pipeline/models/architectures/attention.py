"""LSTM encoder-decoder with attention.

In: the model config, and values and mask [n, L, F]. Out: the reconstruction.
"""

from __future__ import annotations

from keras import layers

from pipeline.config.models import Model as ModelConfig
from pipeline.models.architectures.parts import (
    Tensor,
    Views,
    as_features,
    before,
    decode,
    encode,
    final,
    seen,
)


def attention_lstm(config: ModelConfig, values: Tensor, mask: Tensor) -> Views:
    r"""Reconstruct as `lstm` does, each row also looking back at what the encoder knew before it.

    Attention by the dot product, as in Luong et al. 2015 (arXiv:1508.04025). With the encoder's outputs h_s
    and the decoder's d_t, each row t of the reconstruction r is

        q_t = W_q d_t,  k_s = W_k h_s,  v_s = W_v h_s       `latent` wide
        a_t = softmax over s of w (q_t . k_s)               rows s < t, and zeros that stand for none
        c_t = sum over s of a_ts v_s
        r_t = W_r tanh(W_c [c_t, d_t] + b_c) + b_r

    A decoder that may look at the encoder everywhere copies its input and reconstructs anomalies as well as
    anything (the bypass of Bahuleyan et al. 2018, arXiv:1712.08207, and the reason for the bottlenecks in
    Pereira & Silveira 2018, "Unsupervised anomaly detection in energy time series data using variational
    recurrent autoencoders with attention"). Here a row sees itself, and what follows it, through the narrow
    code alone; what it looks back at is the past.

    Args:
        config: `units`, outermost layer first; `latent`, also the width of what is looked at; `dropout`.
        values: Symbolic [n, L, F].
        mask: Symbolic [n, L, F], 1 where observed.

    Returns:
        The symbolic reconstruction [n, L, F].
    """
    steps = encode(config, seen(values, mask), whole=True)
    decoded = decode(config, final(steps), values.shape[1])
    past = before(steps)
    query = layers.Dense(config.latent, use_bias=False, name="query")(decoded)
    key = layers.Dense(config.latent, use_bias=False, name="key")(past)
    value = layers.Dense(config.latent, use_bias=False, name="value")(past)
    context = layers.Attention(use_scale=True, name="attention")([query, value, key], use_causal_mask=True)
    joined = layers.Concatenate(name="joined")([context, decoded])
    joined = layers.Dense(config.units[0], activation="tanh", name="attended")(joined)
    return {"reconstruction": as_features(joined, values.shape[2])}
