"""Look into a `.keras` file without loading it: loading is what a poisoned one waits for.

In: the file's bytes and the window's shape. Out: the views it gives, or a BundleError saying what is wrong.
Keras's own `safe_mode` is no security boundary: only the layers our architectures use, by exact module and
name, get through, and no weight that is not a finite number.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np

from pipeline.errors import BundleError
from pipeline.models.reconstruct import VIEWS
from pipeline.models.strict_json import parse

MAX_UNPACKED = 1 << 30
MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}
_MAX_RATIO = 100  # weights barely compress; what does, is a bomb
_ALLOWED: dict[str | None, set[str]] = {
    None: {"__keras_tensor__"},
    "keras": {"DTypePolicy"},
    "keras.src.models.functional": {"Functional"},
    "keras.initializers": {"GlorotUniform", "Orthogonal", "Zeros"},
    "keras.layers": {
        *("Attention", "Bidirectional", "Concatenate", "Conv1D", "Cropping1D", "Dense", "Dropout", "GRU"),
        *(
            "InputLayer",
            "LSTM",
            "Multiply",
            "RNN",
            "RepeatVector",
            "Reshape",
            "UpSampling1D",
            "ZeroPadding1D",
        ),
    },
    "pipeline.models.architectures.peephole": {"PeepholeLSTMCell"},
}
_REGISTERED = {"PeepholeLSTMCell": "offbeat>PeepholeLSTMCell"}
_ACTIVATIONS = {"linear", "tanh", "sigmoid"}
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    RuntimeError,
    NotImplementedError,
    struct.error,
    ValueError,
)


def inspect(data: bytes, length: int, features: int) -> tuple[str, ...]:
    """Refuse a `.keras` file that is anything but an autoencoder of ours for windows [n, length, features].

    Returns:
        The views it gives, in order.

    Raises:
        BundleError: Saying what is wrong.
    """
    parts = _unzip(data)
    _check_metadata(parse(parts["metadata.json"], "metadata.json"))
    config = parse(parts["config.json"], "config.json")
    _check_classes(config)
    _check_inputs(config, [None, length, features])
    views = _check_outputs(config)
    _check_weights(parts["model.weights.h5"])
    return views


def _unzip(data: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_members(archive.infolist())
            return {name: archive.read(name) for name in MEMBERS}
    except _ZIP_ERRORS as error:
        raise BundleError(f"it is not a whole .keras archive ({error})") from error


def _check_members(infos: list[zipfile.ZipInfo]) -> None:
    names = sorted(i.filename for i in infos)
    if names != sorted(MEMBERS):
        raise BundleError(f"the archive holds {names[:8]}, expected exactly {sorted(MEMBERS)}")
    if sum(i.file_size for i in infos) > MAX_UNPACKED:
        raise BundleError(f"it would unpack to more than {MAX_UNPACKED >> 20} MiB")
    if bomb := [i.filename for i in infos if i.file_size > _MAX_RATIO * max(i.compress_size, 1)]:
        raise BundleError(f"{bomb[0]} unpacks to over {_MAX_RATIO} times its size, as only a bomb does")


def _check_metadata(metadata: Mapping[str, Any]) -> None:
    if not str(metadata.get("keras_version", "")).startswith("3."):
        raise BundleError("metadata.json names no version of Keras 3")


def _check_classes(config: Mapping[str, Any]) -> None:
    if config.get("compile_config"):
        raise BundleError("it carries a compiled loss or optimizer, which Offbeat never saves")
    for part in _objects(config):
        if part.keys() & {"module", "class_name", "registered_name"}:
            _check_class(part)
        for key, value in part.items():
            _check_setting(key, value)


def _check_class(part: Mapping[str, Any]) -> None:
    module, name, registered = (part.get(k) for k in ("module", "class_name", "registered_name"))
    known = isinstance(name, str) and (module is None or isinstance(module, str))
    if (
        not known
        or name not in _ALLOWED.get(module, set())
        or registered not in (None, _REGISTERED.get(name, name))
    ):
        raise BundleError(f"it contains {module}.{name} ({registered}), which no architecture of ours uses")


def _check_setting(key: str, value: Any) -> None:
    if key.endswith("activation") and not (isinstance(value, str) and value in _ACTIVATIONS):
        raise BundleError(f"it uses the {key} {str(value)[:80]!r}, which no architecture of ours uses")
    if key.endswith(("_regularizer", "_constraint", "_quantizer")) and value is not None:
        raise BundleError(f"it sets {key}, which no architecture of ours does")


def _objects(node: Any) -> Iterator[Mapping[str, Any]]:
    """Every JSON object in `node`, itself included, without recursion."""
    todo = [node]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            yield node
            todo.extend(node.values())
        elif isinstance(node, list):
            todo.extend(node)


def _check_inputs(config: Mapping[str, Any], shape: list[int | None]) -> None:
    inputs = [p["config"] for p in _objects(config) if p.get("class_name") == "InputLayer" and "config" in p]
    found = {i.get("name"): i.get("batch_shape") for i in inputs if isinstance(i, dict)}
    if found != {"values": shape, "mask": shape}:
        raise BundleError(f"its inputs are {found}, the bundle's windows are {shape}")


def _check_outputs(config: Mapping[str, Any]) -> tuple[str, ...]:
    inside = config.get("config")
    found = inside.get("output_layers") if isinstance(inside, dict) else None
    if not isinstance(found, dict) or VIEWS[0] not in found or found.keys() - set(VIEWS):
        raise BundleError(f"its outputs are {str(found)[:200]}, known are {', '.join(VIEWS)}")
    return tuple(view for view in VIEWS if view in found)


def _check_weights(data: bytes) -> None:
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            _check_group(file)
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise BundleError(f"its weights cannot be read ({error})") from error


def _check_group(group: h5py.Group) -> None:
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise BundleError(f"its weights point out of the file at {name}")
        child = group[name]
        if isinstance(child, h5py.Group):
            _check_group(child)
        else:
            _check_dataset(child)


def _check_dataset(weights: Any) -> None:
    if not isinstance(weights, h5py.Dataset) or weights.external or weights.is_virtual or weights.chunks:
        raise BundleError("its weights are stored in a way Keras never stores them")
    if weights.dtype.kind not in "fiu" or weights.nbytes > MAX_UNPACKED:
        raise BundleError(f"its weights hold {weights.dtype} of {weights.nbytes} bytes")
    if not np.isfinite(weights[()]).all():
        raise BundleError("it has weights that are NaN or infinite")
