"""Recurrent layers that ONNX has an operator for and TensorFlow's exporter does not know: GRU, and peepholes.

In: a Keras model. Out: its twin, with plain LSTMs standing in, which exports; then the exported graph, with
the stand-ins changed into what they stand for. Exported as they are, the layers would become a Loop, which
may not end and is refused; unrolled, thousands of small operators.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import onnx
from keras import layers
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from pipeline.errors import BundleError
from pipeline.models.architectures.peephole import PeepholeLSTMCell

Array = NDArray[np.float32]


def without(model: keras.Model) -> keras.Model:
    """Return a model with plain LSTMs for GRUs and peepholes, all other weights the same."""
    if not any(map(_needs, model.layers)):
        return model
    twin = keras.models.clone_model(model, clone_function=_clone)
    for layer in model.layers:
        twin.get_layer(layer.name).set_weights(_as_lstm(layer) if _needs(layer) else layer.get_weights())
    return twin


def put_back(model: keras.Model, twin: keras.Model, graph: onnx.GraphProto) -> None:
    """Change the graph exported from the twin into the model's.

    Raises:
        BundleError: If a stand-in cannot be found in the graph.
    """
    for layer in filter(_needs, model.layers):
        node = _find(graph, layer.name, np.asarray(twin.get_layer(layer.name).cell.recurrent_kernel))
        (_as_gru if isinstance(layer, layers.GRU) else _see_cells)(layer, node, graph)
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _needs(layer: Any) -> bool:
    return isinstance(layer, layers.GRU) or isinstance(getattr(layer, "cell", None), PeepholeLSTMCell)


def _clone(layer: Any) -> Any:
    if not _needs(layer):
        return layer.__class__.from_config(layer.get_config())
    return layers.LSTM(layer.cell.units, return_sequences=layer.return_sequences, name=layer.name)


def _as_lstm(layer: Any) -> list[Array]:
    """Return weights an LSTM takes, by which it is found again; a GRU's first gate of three comes twice."""
    kernel, recurrent, bias = layer.get_weights()[:3]
    if not isinstance(layer, layers.GRU):
        return [kernel, recurrent, bias]
    units = layer.units
    four = (np.concatenate([part, part[:, :units]], axis=1) for part in (kernel, recurrent))
    return [*four, np.zeros(4 * units, np.float32)]


def _find(graph: onnx.GraphProto, name: str, recurrent: Array) -> onnx.NodeProto:
    weights = {tensor.name: tensor for tensor in graph.initializer}
    i, f, g, o = np.split(recurrent, 4, axis=1)
    wanted = _turned(i, o, f, g)
    found: list[onnx.NodeProto] = []
    for node in graph.node:
        weight = weights.get(node.input[2]) if node.op_type == "LSTM" else None
        if weight is not None and np.array_equal(numpy_helper.to_array(weight), wanted):
            found.append(node)
    if len(found) != 1:
        raise BundleError(f"{len(found)} LSTMs of the exported graph have the weights of {name}")
    return found[0]


def _see_cells(layer: Any, node: onnx.NodeProto, graph: onnx.GraphProto) -> None:
    """Give ONNX's LSTM its eighth input: X, W, R, B, sequence_lens, initial_h, initial_c, P."""
    i, f, o = np.asarray(layer.cell.peepholes)
    given = [*node.input, *[""] * 7][:7]
    node.input[:] = [*given, _add(graph, f"{layer.name}_P", np.concatenate([i, o, f])[np.newaxis])]


def _as_gru(layer: Any, node: onnx.NodeProto, graph: onnx.GraphProto) -> None:
    """Make ONNX's GRU of its LSTM: both order the gates z, r, h, and reset after the multiplication."""
    kernel, recurrent, bias = layer.get_weights()
    parts = {"W": _turned(kernel), "R": _turned(recurrent), "B": bias.reshape(1, -1)}
    names = [_add(graph, f"{layer.name}_{part}", array) for part, array in parts.items()]
    state = [*node.input, "", ""][5]
    changed = helper.make_node(
        "GRU",
        [node.input[0], *names, "", state],
        list(node.output)[:2],
        node.name,
        hidden_size=layer.units,
        linear_before_reset=1,
    )
    node.CopyFrom(changed)


def _turned(*gates: Array) -> Array:
    """Return gates [rows, units] as ONNX keeps them: one direction, [1, gates x units, rows]."""
    return np.ascontiguousarray(np.concatenate(gates, axis=1).T[np.newaxis])


def _add(graph: onnx.GraphProto, name: str, array: Array) -> str:
    graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
    return name
