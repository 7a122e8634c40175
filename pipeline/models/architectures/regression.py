"""The LSTM that reconstructs and predicts.

In: the model config, and values and mask [n, L, F]. Out: the reconstruction and the prediction.
"""

from __future__ import annotations

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


def aer(config: ModelConfig, values: Tensor, mask: Tensor) -> Views:
    r"""Reconstruct as `lstm` does, and predict each row from the rows before it, with one encoder.

    The auto-encoder with regression of Wong et al. 2022 (AER, arXiv:2212.13558): what is learned to predict
    is of use for reconstructing, and the two fail on different anomalies, a prediction on what comes
    suddenly, a reconstruction on what has no likeness in the past. AER predicts the rows just outside of a
    window with a bidirectional encoder; here the encoder reads forwards alone, so that its output at each
    row knows nothing of later ones, and one pass predicts all rows:

        h_t = LSTM(x_t, h_{t-1}), h_0 = 0
        p_t = W_p h_{t-1} + b_p                 the prediction
        z   = W_z h_L + b_z                     the code, as in `lstm`
        r_t = W_r LSTM(z, d_{t-1}) + b_r        the reconstruction

    Each has half of the loss, AER's gamma of 0.5.

    Args:
        config: `units`, outermost layer first; `latent`; `dropout` on each encoder layer's output.
        values: Symbolic [n, L, F].
        mask: Symbolic [n, L, F], 1 where observed.

    Returns:
        The symbolic reconstruction and prediction, [n, L, F] each; row 0 of the prediction is made from
        nothing and is always the same.
    """
    features = values.shape[2]
    steps = encode(config, seen(values, mask), whole=True)
    decoded = decode(config, final(steps), values.shape[1])
    return {
        "reconstruction": as_features(decoded, features),
        "prediction": as_features(before(steps), features, "prediction"),
    }
