"""The bundle's manifest: what the bundle is for, and what lies in it.

In: a stream and what was trained for it; or a manifest.json. Out: the manifest, complete and checked.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline import clock
from pipeline.config.models import Stream
from pipeline.errors import BundleError
from pipeline.models import sealed, strict_json

RETRAIN = "train the stream again, or promote another version"
NAME = "manifest.json"
_PACKAGES = ("keras", "numpy", "onnx", "onnxruntime")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _File(_Strict):
    sha256: str
    bytes: int


class _Window(BaseModel):
    model_config = ConfigDict(strict=True)

    length: int = Field(ge=1)


class _Manifest(_Strict):
    format: Literal["offbeat.bundle/1"]
    stream: str
    config: dict[str, Any]
    kind: Literal["sensor", "transaction"]
    channels: list[str] = Field(min_length=1)
    features: list[str] = Field(min_length=1)
    window: _Window
    model: dict[str, Any]
    training: dict[str, Any]
    members: dict[str, str] = Field(min_length=1)
    versions: dict[str, str]
    created: str
    files: dict[str, _File]


def describe(
    stream: Stream, features: Sequence[str], entities: Iterable[str], training: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the manifest of a bundle for `stream`, complete but for its files.

    Args:
        stream: The stream it detects anomalies in.
        features: Names of the model's features, in order.
        entities: Who has a model; "" is the stream.
        training: Summary of the training, JSON-able.
    """
    return {
        "format": "offbeat.bundle/1",
        "stream": stream.name,
        "config": stream.model_dump(mode="json"),
        "kind": stream.kind,
        "channels": list(stream.channels),
        "features": list(features),
        "window": stream.window.model_dump(mode="json"),
        "model": stream.model.model_dump(mode="json"),
        "training": dict(training),
        "members": {entity: stem_of(entity) for entity in entities},
        "versions": {"python": platform.python_version()} | {p: version(p) for p in _PACKAGES},
        "created": clock.now().isoformat(),
    }


def stem_of(entity: str) -> str:
    """Return where the bundle keeps an entity's model, without the ending; no name can lead elsewhere."""
    return f"models/{sealed.sha256(entity.encode(errors='surrogatepass'))[:32]}" if entity else "model"


def read(folder: Path, sums: Mapping[str, str]) -> dict[str, Any]:
    """Read the manifest and hold it against the sha256 of each file.

    Raises:
        BundleError: If it is missing, malformed, or lists other files than there are.
    """
    if NAME not in sums:
        raise BundleError(f"the bundle lacks {NAME}: download it again")
    manifest = plain(folder, NAME)
    try:
        _Manifest.model_validate(manifest)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        raise BundleError(f"the bundle's manifest is wrong at {where}: {first['msg']}; {RETRAIN}") from error
    listed = {path: entry["sha256"] for path, entry in manifest["files"].items()}
    if listed != {path: total for path, total in sums.items() if path != NAME}:
        raise BundleError(f"the bundle's manifest does not list its files as they are: {RETRAIN}")
    return manifest


def plain(folder: Path, name: str) -> dict[str, Any]:
    """Read one of the bundle's JSON files.

    Raises:
        BundleError: If it is not a plain JSON object.
    """
    try:
        return strict_json.parse(sealed.read(folder, name), name)
    except BundleError as error:
        raise BundleError(f"{error}; {RETRAIN}") from error
