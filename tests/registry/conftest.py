"""One real MLflow on SQLite for the room; every test takes a stream name of its own."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.registry import Registry
from pipeline.schemas import TIME

SCHEMA = pa.schema(
    [
        pa.field("entity", pa.string(), nullable=False),
        pa.field("time", TIME, nullable=False),
        pa.field("pressure", pa.float64()),
        pa.field("flow", pa.float64()),
    ]
)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    home = tmp_path_factory.mktemp("mlflow")
    return Registry(f"sqlite:///{home}/nested/mlflow.db", home / "artifacts")


_numbers = itertools.count(1)


@pytest.fixture
def stream() -> str:
    return f"pump-{next(_numbers)}"


@pytest.fixture
def records() -> pa.Table:
    at = datetime(2026, 1, 31, 12, tzinfo=UTC)
    rows = {"entity": ["p1", "p2"], "time": [at, at], "pressure": [4.1, None], "flow": [1.0, 2.0]}
    return pa.table(rows, schema=SCHEMA)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return a_bundle(tmp_path / "a-bundle")


def a_bundle(folder: Path) -> Path:
    """Make a folder that is sealed as a bundle, though no detector is in it."""
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"format": 1}')
    (folder / "model.onnx").write_bytes(os.urandom(2000))
    return seal(folder)


def seal(folder: Path) -> Path:
    files = sorted(p for p in folder.iterdir() if p.name != "DIGEST")
    lines = (f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in files)
    (folder / "DIGEST").write_text("".join(lines))
    return folder


@pytest.fixture
def publish(registry: Registry, stream: str, tmp_path: Path, records: pa.Table) -> Callable[[], int]:
    """Log one more version of the test's stream and return its number."""

    def one() -> int:
        with registry.run(stream) as run:
            return run.bundle(a_bundle(tmp_path / f"bundle-{next(_numbers)}"), SCHEMA, example=records)

    return one
