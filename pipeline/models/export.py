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
from pipeline.models import stand_in
from pipeline.models.reconstruct import VIEWS, Reconstructor
from pipeline.models.windows import Batch

AGREEMENT = 1e-5


def to_onnx(model: keras.Model) -> bytes:
    """Export a model from `architectures.build`, with a free batch size and names of our own.

    Returns:
        An ONNX graph from `values` and `mask`, [batch, L, F], to each view of the model, [batch, L, F].
    """
    plain = stand_in.without(model)
    _leave_cudnn(plain)
    with tempfile.TemporaryDirectory() as folder, keras.device("cpu:0"):
        path = Path(folder) / "model.onnx"
        plain(_zeros(model))  # Keras exports only what has been called
        plain.export(str(path), format="onnx", verbose=False)
        graph = onnx.load(path, load_external_data=False)
    stand_in.put_back(model, plain, graph.graph)
    _name(graph.graph, sorted(model.output), model.output[VIEWS[0]].shape)
    onnx.checker.check_model(graph)
    return bytes(graph.SerializeToString(deterministic=True))


def difference(model: keras.Model, graph: bytes, windows: Batch) -> float:
    """Return the largest difference between Keras and ONNX on the observed cells of `windows`.

    In scaled units; relative to the largest value of each view and feature where that is above 1, because
    float32 holds seven digits and a recurrent net loses one of them on its way (the mean difference is 2e-7).

    Raises:
        BundleError: If it is more than 1e-5: what was validated is not what would score.
    """
    ours = Reconstructor(graph)(*windows)
    theirs = model.predict_on_batch({"values": windows[0], "mask": windows[1]})
    if ours.keys() != theirs.keys():
        raise BundleError(f"the exported ONNX graph gives {', '.join(ours)}, Keras {', '.join(theirs)}")
    largest = max(_furthest(ours[view], np.asarray(theirs[view]), windows[1] > 0) for view in ours)
    if not largest <= AGREEMENT:
        raise BundleError(
            f"the exported ONNX graph differs from Keras by {largest:.2g}, more than {AGREEMENT}"
        )
    return largest


def _furthest(ours: NDArray[np.float32], theirs: NDArray[np.float32], seen: NDArray[np.bool_]) -> float:
    reach = np.max(np.abs(theirs), axis=(0, 1), where=seen, initial=1.0)
    return float(np.max(np.abs(ours - theirs) / reach, where=seen, initial=0.0))


def _zeros(model: keras.Model) -> dict[str, NDArray[np.float32]]:
    return {name: np.zeros((1, *part.shape[1:]), np.float32) for name, part in model.input.items()}


def _leave_cudnn(model: keras.Model) -> None:
    for layer in model.layers:  # cuDNN's fused LSTM has no ONNX counterpart
        for part in (getattr(layer, "forward_layer", layer), getattr(layer, "backward_layer", layer)):
            if hasattr(part, "use_cudnn"):
                part.use_cudnn = False


def _name(graph: onnx.GraphProto, views: list[str], shape: tuple[int | None, ...]) -> None:
    """Name the outputs, which the exporter gives in the order of their names, and free the batch size."""
    names = {made.name: view for made, view in zip(graph.output, views, strict=True)}
    for node in graph.node:
        node.output[:] = [names.get(n, n) for n in node.output]
        node.input[:] = [names.get(n, n) for n in node.input]
    for made in graph.output:
        made.name = names[made.name]
    graph.name = "offbeat"
    for port in (*graph.input, *graph.output):
        for size, dim in zip(("batch", *shape[1:]), port.type.tensor_type.shape.dim, strict=True):
            dim.ClearField("value")
            if isinstance(size, str):
                dim.dim_param = size
            else:
                dim.dim_value = size
