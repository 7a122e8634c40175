"""Look into an ONNX graph before anything runs it.

In: the graph's bytes and the window's shape. Out: the views it gives, or a BundleError saying what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from pipeline.errors import BundleError
from pipeline.models.reconstruct import VIEWS, Reconstructor

# What an autoencoder is computed with. No Loop, If or Scan: a graph without them ends.
_OPERATORS = {
    *("Add", "Sub", "Mul", "Div", "Neg", "Sqrt", "Exp", "Max", "Min", "Where", "Erf", "Pow", "Not"),
    *("Tanh", "Sigmoid", "Relu", "Elu", "Softplus", "Softmax", "LayerNormalization"),
    *("MatMul", "Gemm", "LSTM", "GRU", "Conv", "ReduceMean", "ReduceSum", "ReduceProd"),
    *(
        "Shape",
        "Reshape",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "Concat",
        "Split",
        "Slice",
        "Gather",
        "Flatten",
        "Pad",
    ),
    *("Expand", "Tile", "ConstantOfShape", "Constant", "Cast", "Identity"),
}
_INPUTS = ("mask", "values")
_DOMAINS = {"", "ai.onnx"}
_IMPORTS = _DOMAINS | {"ai.onnx.ml"}  # the exporter always names the last, and never uses it
_ENDS = {onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS, onnx.AttributeProto.SPARSE_TENSOR}


def inspect(data: bytes, length: int, features: int) -> tuple[str, ...]:
    """Refuse a graph that is anything but an autoencoder for windows [n, length, features].

    Returns:
        The views it gives, in order.

    Raises:
        BundleError: Saying what is wrong.
    """
    model = _parse(data)
    _check_operators(model)
    _check_ports(model.graph, [length, features])
    for tensor in _tensors(model.graph):
        _check_tensor(tensor)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BundleError(f"it is not a valid ONNX graph ({str(error).splitlines()[0]})") from error
    return Reconstructor(data, threads=1).views


def _parse(data: bytes) -> onnx.ModelProto:
    try:
        return onnx.load_model_from_string(data)
    except DecodeError as error:
        raise BundleError("it is not a whole ONNX file") from error


def _check_operators(model: onnx.ModelProto) -> None:
    if strange := {o.domain for o in model.opset_import} - _IMPORTS:
        raise BundleError(f"it asks for operators of {sorted(strange)}, expected ONNX's own")
    if model.functions or model.training_info or model.graph.sparse_initializer:
        raise BundleError("it has functions, training steps or sparse weights, which Offbeat never exports")
    for node in model.graph.node:
        if node.domain not in _DOMAINS or node.op_type not in _OPERATORS:
            raise BundleError(
                f"it uses the operator {node.domain}:{node.op_type}, which no architecture of ours uses"
            )
        if any(a.type in _ENDS for a in node.attribute):
            raise BundleError(
                f"its {node.op_type} has a graph or sparse weights inside, which Offbeat never exports"
            )


def _check_ports(graph: onnx.GraphProto, shape: list[int]) -> None:
    weights = {t.name for t in graph.initializer}
    for role, ports, required, known in (
        ("inputs", [i for i in graph.input if i.name not in weights], _INPUTS, _INPUTS),
        ("outputs", graph.output, VIEWS[:1], VIEWS),
    ):
        found = {p.name: _shape(p) for p in ports}
        right = set(required) <= found.keys() <= set(known) and len(found) == len(ports)
        if not right or any(s != shape for s in found.values()):
            raise BundleError(
                f"its {role} are {found}, expected {', '.join(known)} of [n, {shape[0]}, {shape[1]}]"
            )


def _shape(port: onnx.ValueInfoProto) -> list[int] | str:
    tensor = port.type.tensor_type
    dims = [d.dim_value for d in tensor.shape.dim]
    free = len(dims) == 3 and not dims[0]
    return (
        dims[1:] if free and tensor.elem_type == onnx.TensorProto.FLOAT else f"fixed in batch or type: {dims}"
    )


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t
            yield from attribute.tensors


def _check_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise BundleError(f"its weights {tensor.name} lie in another file")
    try:
        values = onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise BundleError(f"its weights {tensor.name} cannot be read ({error})") from error
    if values.dtype.kind not in "fiub" or not np.isfinite(values).all():
        raise BundleError(f"its weights {tensor.name} are NaN, infinite or no numbers")
