"""Autoencoders that squeeze a window into one narrow code; they differ in the layer on both sides of it.

In: the model config, and values and mask [n, L, F]. Out: the reconstruction.
"""

from __future__ import annotations

from typing import Any

from keras import layers

from pipeline.config.models import Model as ModelConfig
from pipeline.models.architectures.parts import Recurrent, Tensor, Views, as_features, decode, encode, seen
from pipeline.models.architectures.peephole import PeepholeLSTM


def lstm(config: ModelConfig, values: Tensor, mask: Tensor) -> Views:
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
    return _autoencoder(config, values, mask, layers.LSTM)


def bilstm(config: ModelConfig, values: Tensor, mask: Tensor) -> Views:
    r"""Reconstruct as `lstm` does, each layer reading the window forwards and backwards.

    A layer is two of `lstm`'s, with weights of their own (Schuster & Paliwal 1997, "Bidirectional recurrent
    neural networks"; with LSTM units, Graves & Schmidhuber 2005):

        h_t> = LSTM>(x_t, h_{t-1}>)     from the first row on
        h_t< = LSTM<(x_t, h_{t+1}<)     from the last row back
        h_t  = [h_t>, h_t<]

    The code is made of what both know at their ends, `[h_L>, h_1<]`: the first rows are no longer the
    farthest from it. `units` counts one direction, so that a layer costs twice what `lstm`'s does.

    Args:
        config: `units` of each direction, outermost layer first; `latent`; `dropout`.
        values: Symbolic [n, L, F].
        mask: Symbolic [n, L, F], 1 where observed.

    Returns:
        The symbolic reconstruction [n, L, F].
    """
    return _autoencoder(config, values, mask, _both_ways)


def gru(config: ModelConfig, values: Tensor, mask: Tensor) -> Views:
    r"""Reconstruct as `lstm` does, with gated recurrent units: a gate less, and no cell state beside h.

    Cho et al. 2014 (arXiv:1406.1078), in the variant that resets after the multiplication, as cuDNN
    computes it and ONNX does with `linear_before_reset`:

        z = sigmoid(W_z x + U_z h + b_z)                    what to keep
        r = sigmoid(W_r x + U_r h + b_r)                    what of the past makes the new
        g = tanh(W_g x + b_g + r * (U_g h + d_g))           what is new
        h' = z * h + (1 - z) * g

    A quarter fewer weights than `lstm` for the same units.

    Args:
        config: `units`, outermost layer first; `latent`; `dropout`.
        values: Symbolic [n, L, F].
        mask: Symbolic [n, L, F], 1 where observed.

    Returns:
        The symbolic reconstruction [n, L, F].
    """
    return _autoencoder(config, values, mask, layers.GRU)


def peephole_lstm(config: ModelConfig, values: Tensor, mask: Tensor) -> Views:
    """Reconstruct as `lstm` does, with gates that see the cell state: `PeepholeLSTMCell` has the equations.

    Gers & Schmidhuber 2000 ("Recurrent nets that time and count") let the gates look at the cell, so that a
    unit can measure intervals exactly even while its output gate is shut.

    Args:
        config: `units`, outermost layer first; `latent`; `dropout`.
        values: Symbolic [n, L, F].
        mask: Symbolic [n, L, F], 1 where observed.

    Returns:
        The symbolic reconstruction [n, L, F].
    """
    return _autoencoder(config, values, mask, PeepholeLSTM)


def _autoencoder(config: ModelConfig, values: Tensor, mask: Tensor, make: Recurrent) -> Views:
    code = encode(config, seen(values, mask), make)
    steps = decode(config, code, values.shape[1], make)
    return {"reconstruction": as_features(steps, values.shape[2])}


def _both_ways(units: int, *, return_sequences: bool, name: str) -> Any:
    return layers.Bidirectional(layers.LSTM(units, return_sequences=return_sequences), name=name)
