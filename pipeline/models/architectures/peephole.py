"""The LSTM with peepholes, which Keras has no layer for.

In: steps [n, L, F]. Out: steps [n, L, units], or the last one. `stand_in` turns it into ONNX's own LSTM
operator, which knows peepholes. Import this module before loading a `.keras` file that holds such a layer.
"""

from __future__ import annotations

from typing import Any

from keras import layers, ops, saving

Tensor = Any


@saving.register_keras_serializable(package="offbeat")
class PeepholeLSTMCell(layers.Layer):  # type: ignore[misc]  # Keras ships no types
    r"""One step of an LSTM whose gates see the cell state.

    Gers & Schmidhuber 2000 ("Recurrent nets that time and count"), written as in Graves 2013
    (arXiv:1308.0850, equations 7 to 11). From the input x, its own last output h and cell state c,

        i = sigmoid(W_i x + U_i h + p_i * c + b_i)      what to let in
        f = sigmoid(W_f x + U_f h + p_f * c + b_f)      what to keep
        g = tanh(W_g x + U_g h + b_g)                   what is new
        c' = f * c + i * g
        o = sigmoid(W_o x + U_o h + p_o * c' + b_o)     what to show, seeing the new state
        h' = o * tanh(c')

    Each p has one weight for each unit: a gate looks into its own cell alone. They start at 0, where the
    cell is Keras's `LSTMCell`; the forget gate's bias starts at 1 (Jozefowicz et al. 2015), as there.

    Args:
        units: Width of h and c.

    Example:
        >>> from keras import layers
        >>> layers.RNN(PeepholeLSTMCell(8))(ops.zeros((2, 5, 3))).shape
        TensorShape([2, 8])
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.state_size = [units, units]
        self.output_size = units

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make W (as Keras orders it: i, f, g, o), U, b and p (i, f, o)."""
        gates = (4 * self.units,)
        self.kernel = self.add_weight(
            name="kernel", shape=(input_shape[-1], *gates), initializer="glorot_uniform"
        )
        self.recurrent_kernel = self.add_weight(
            name="recurrent_kernel", shape=(self.units, *gates), initializer="orthogonal"
        )
        self.bias = self.add_weight(name="bias", shape=gates, initializer=_forget_gate_open)
        self.peepholes = self.add_weight(name="peepholes", shape=(3, self.units), initializer="zeros")

    def call(self, inputs: Tensor, states: list[Tensor], training: bool | None = None) -> Any:
        """Return h' and the states [h', c']; inputs are [n, F], states [n, units] each."""
        h, c = states
        z = ops.matmul(inputs, self.kernel) + ops.matmul(h, self.recurrent_kernel) + self.bias
        i, f, g, o = ops.split(z, 4, axis=-1)
        kept = ops.sigmoid(f + self.peepholes[1] * c) * c
        c = kept + ops.sigmoid(i + self.peepholes[0] * c) * ops.tanh(g)
        h = ops.sigmoid(o + self.peepholes[2] * c) * ops.tanh(c)
        return h, [h, c]

    def get_initial_state(self, batch_size: int | None = None) -> list[Tensor]:
        """Return zeros [n, units] for h and for c."""
        return [ops.zeros((batch_size, size), dtype=self.compute_dtype) for size in self.state_size]

    def get_config(self) -> dict[str, Any]:
        """Return what the constructor takes."""
        return {**super().get_config(), "units": self.units}


def PeepholeLSTM(units: int, *, return_sequences: bool, name: str) -> Any:  # noqa: N802 - reads as the layer it makes
    """Make a layer of `PeepholeLSTMCell`, from [n, L, F] to [n, L, units], or to [n, units]."""
    return layers.RNN(PeepholeLSTMCell(units, name="cell"), return_sequences=return_sequences, name=name)


def _forget_gate_open(shape: tuple[int, ...], dtype: Any = None) -> Tensor:
    units = shape[0] // 4
    parts = [ops.zeros(units, dtype), ops.ones(units, dtype), ops.zeros(2 * units, dtype)]
    return ops.concatenate(parts)
