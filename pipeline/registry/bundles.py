"""A detector bundle's way into a model version, and back into a local folder.

In: the folder that the models room wrote. Out: a pyfunc model in MLflow's format around it, and, for
scoring, the same folder again, checked against the digest that stands on the version.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.errors import BundleError
from pipeline.log import redact

if TYPE_CHECKING:
    from mlflow.models import Model, ModelSignature
    from mlflow.types.schema import ColSpec

PACKAGE = Path(__file__).parent.parent
ARTIFACT, SEAL = "bundle", "DIGEST"
_NEEDED = ("mlflow", "numpy", "onnx", "onnxruntime", "pandas", "pyarrow", "pydantic", "pyyaml", "structlog")
_OUTPUTS = (
    ("entity", "string"),
    ("time", "string"),
    ("id", "string"),
    ("score", "double"),
    ("flag", "boolean"),
)
_EXAMPLE = 128  # rows of the input example at most: enough for a window or two
_loading = threading.Lock()  # saving runs serving.py, which hands its model over in a global of MLflow's


def digest(folder: Path) -> str:
    """Return the digest of a sealed bundle: the SHA-256 of its `DIGEST`, which lists every other file's.

    Raises:
        BundleError: a file is missing, added or changed since it was sealed, or is a link.
    """
    files = [p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir()]
    found = {p.relative_to(folder).as_posix(): p for p in files}
    if SEAL not in found or any(p.is_symlink() for p in files):
        raise BundleError(f"{folder.name} is no bundle: it has no {SEAL}, or links")
    seal = found.pop(SEAL).read_bytes()
    lines = (f"{_sha256(file.read_bytes())}  {name}\n" for name, file in sorted(found.items()))
    if "".join(lines).encode() != seal:
        raise BundleError(f"{folder.name}: its files are not those that {SEAL} lists: damaged or exchanged")
    return _sha256(seal)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def requirements(packages: Sequence[str] = _NEEDED) -> list[str]:
    """Return what serving a bundle needs, pinned to what is installed here."""
    return [f"{name}=={version(name)}" for name in packages]


def save(model: Model, bundle: Path, records: pa.Schema, example: pa.Table | None, out: Path) -> None:
    """Write `bundle` to `out` as a models-from-code pyfunc that carries this package's code.

    Args:
        model: MLflow's description of it, filled in.
        bundle: Folder of the bundle.
        records: Schema of what it scores, `schemas.records(stream)`.
        example: A few such records, or None.
        out: Folder to make.

    Raises:
        BundleError: MLflow cannot make a model of it.
    """
    from mlflow.exceptions import MlflowException

    try:
        _save(model, bundle, records, example, out)
    except MlflowException as error:  # nothing here is remote: trying again would not help
        raise BundleError(f"cannot package the bundle: {redact(str(error))}") from error


def _save(model: Model, bundle: Path, records: pa.Schema, example: pa.Table | None, out: Path) -> None:
    import mlflow

    with tempfile.TemporaryDirectory() as work, _loading:
        mlflow.pyfunc.save_model(
            path=str(out),
            mlflow_model=model,
            python_model=str(PACKAGE / "serving.py"),
            artifacts={ARTIFACT: str(shutil.copytree(bundle, Path(work) / ARTIFACT))},
            code_paths=[str(_code(Path(work)))],
            pip_requirements=requirements(),
            signature=signature(records),
            input_example=None if example is None else _example(example),
        )


def _code(work: Path) -> Path:
    """Copy the package without its caches, so that the version holds sources alone."""
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
    return Path(shutil.copytree(PACKAGE, work / PACKAGE.name, ignore=ignore))


def signature(records: pa.Schema) -> ModelSignature:
    """Return MLflow's signature of a detector for such records."""
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Array, ColSpec, DataType, Object, Property, Schema

    parts = {"channel": "string", "share": "double", "expected": "double", "actual": "double"}
    share = Object([Property(name, DataType[kind]) for name, kind in parts.items()])
    outputs = [ColSpec(DataType[kind], name) for name, kind in _OUTPUTS]
    return ModelSignature(
        inputs=Schema([_column(f) for f in records]),
        outputs=Schema([*outputs, ColSpec(Array(share), "contributions")]),
    )


def _column(field: pa.Field) -> ColSpec:
    from mlflow.types.schema import AnyType, ColSpec, DataType

    if pa.types.is_timestamp(field.type):
        anything = AnyType()  # type: ignore[no-untyped-call]
        return ColSpec(anything, field.name)  # ISO 8601 text in JSON, aware times in pandas
    numeric = pa.types.is_floating(field.type) or pa.types.is_integer(field.type)
    return ColSpec(DataType.double if numeric else DataType.string, field.name)


def _example(records: pa.Table) -> Any:
    frame = records.slice(0, _EXAMPLE).to_pandas()
    return frame.assign(time=[t.isoformat() for t in frame["time"]])


def settle(fetched: Path, expected: str, home: Path) -> Path:
    """Move a fetched bundle to `home` in one step, once its digest is known to be right.

    Raises:
        BundleError: the digest differs from `expected`.
    """
    if (found := digest(fetched)) != expected:
        raise BundleError(f"{home.name}: digest {found[:12]}…, the model version says {expected[:12]}…")
    home.parent.mkdir(parents=True, exist_ok=True)
    try:
        fetched.rename(home)
    except OSError:  # another process was first; what it left must be right too
        if not intact(home, expected):
            raise
    return home


def intact(folder: Path, expected: str) -> bool:
    """Tell whether `folder` holds the bundle with this digest."""
    try:
        return digest(folder) == expected
    except (BundleError, OSError):
        return False


def clear(folder: Path) -> None:
    """Take a damaged folder out of the way, whole: readers never see half of it."""
    if not folder.exists():
        return
    grave = Path(tempfile.mkdtemp(prefix=".damaged-", dir=folder.parent))
    try:
        folder.rename(grave / folder.name)
    finally:
        shutil.rmtree(grave, ignore_errors=True)
