"""A Keras autoencoder as an ONNX graph that says the same.

In: a Keras model and some windows. Out: the graph, and the largest difference between the two.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import keras
import numpy as np
import onnx
from numpy.typing import NDArray

from pipeline.errors import BundleError
from pipeline.models.reconstruct import Reconstructor
from pipeline.models.windows import Batch

AGREEMENT = 1e-5


def to_onnx(model: keras.Model) -> bytes:
    """Export a model from `architectures.build`, with a free batch size and names of our own.

    Returns:
        An ONNX graph from `values` and `mask`, [batch, L, F], to `reconstruction` [batch, L, F].
    """
    _leave_cudnn(model)
    with tempfile.TemporaryDirectory() as folder, keras.device("cpu:0"):
        path = Path(folder) / "model.onnx"
        model(_zeros(model))  # Keras exports only what has been called
        model.export(str(path), format="onnx", verbose=False)
        graph = onnx.load(path, load_external_data=False)
    _name(graph.graph, model.output_shape)
    onnx.checker.check_model(graph)
    return bytes(graph.SerializeToString(deterministic=True))


def difference(model: keras.Model, graph: bytes, windows: Batch) -> float:
    """Return the largest difference between Keras and ONNX on the observed cells of `windows`.

    In scaled units; relative to the largest reconstruction of each feature where that is above 1, because
    float32 holds seven digits and a recurrent net loses one of them on its way (the mean difference is 2e-7).

    Raises:
        BundleError: If it is more than 1e-5: what was validated is not what would score.
    """
    ours = Reconstructor(graph)(*windows)
    theirs = np.asarray(model.predict_on_batch({"values": windows[0], "mask": windows[1]}))
    seen = windows[1] > 0
    reach = np.max(np.abs(theirs), axis=(0, 1), where=seen, initial=1.0)
    largest = float(np.max(np.abs(ours - theirs) / reach, where=seen, initial=0.0))
    if not largest <= AGREEMENT:
        raise BundleError(
            f"the exported ONNX graph differs from Keras by {largest:.2g}, more than {AGREEMENT}"
        )
    return largest


def _zeros(model: keras.Model) -> dict[str, NDArray[np.float32]]:
    return {name: np.zeros((1, *part.shape[1:]), np.float32) for name, part in model.input.items()}


def _leave_cudnn(model: keras.Model) -> None:
    for layer in model.layers:  # cuDNN's fused LSTM has no ONNX counterpart
        if hasattr(layer, "use_cudnn"):
            layer.use_cudnn = False


def _name(graph: onnx.GraphProto, shape: tuple[int | None, ...]) -> None:
    made = graph.output[0].name
    for node in graph.node:
        node.output[:] = ["reconstruction" if n == made else n for n in node.output]
        node.input[:] = ["reconstruction" if n == made else n for n in node.input]
    graph.output[0].name, graph.name = "reconstruction", "offbeat"
    for port in (*graph.input, *graph.output):
        for size, dim in zip(("batch", *shape[1:]), port.type.tensor_type.shape.dim, strict=True):
            dim.ClearField("value")
            if isinstance(size, str):
                dim.dim_param = size
            else:
                dim.dim_value = size
