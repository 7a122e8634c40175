"""The detector as an MLflow model: what it takes, what it answers, and `mlflow models serve` on it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipeline import schemas, serving
from pipeline.config.models import TransactionStream, parse_stream
from pipeline.errors import BundleError, DataError
from pipeline.registry import Registry
from pipeline.scoring import score_table

CONFIG = {
    "name": "served-pump",
    "kind": "sensor",
    "source": {"path": "nowhere"},
    "fields": {"entity": "pump", "channels": [{"name": "pressure", "unit": "bar"}, {"name": "flow"}]},
    "window": {"length": 8, "stride": 1, "delay": 0},
    "model": {"units": [8], "latent": 4, "epochs": 2, "max_windows": 2000},
}
STREAM = parse_stream(json.dumps(CONFIG))
SCHEMA = schemas.records(STREAM)
AT = datetime(2026, 1, 1, tzinfo=UTC)


def some_records(rows: int) -> pa.Table:
    step = np.arange(rows)
    noise = np.random.default_rng(5).normal(0, 0.05, (2, rows))
    columns = {
        "entity": ["p1"] * rows,
        "time": [AT + timedelta(minutes=int(i)) for i in step],
        "pressure": 4 + np.sin(step / 9) + noise[0],
        "flow": 10 + 2 * np.cos(step / 9) + noise[1],
    }
    return pa.table(columns, schema=SCHEMA)


def frame(**change: Any) -> pd.DataFrame:
    rows = {"entity": ["p1"], "time": ["2026-01-01T00:00:00Z"], "pressure": [4.0], "flow": [1]} | change
    return pd.DataFrame({name: value for name, value in rows.items() if value is not None})


@pytest.mark.parametrize(
    "times",
    [
        ["2026-01-01T00:00:00Z"],
        ["2026-01-01T00:00:00"],
        ["2026-01-01T01:00:00+01:00"],
        pd.to_datetime(["2026-01-01"]),
        pd.to_datetime(["2026-01-01T09:00:00+09:00"]),
        [AT],
    ],
)
def test_times_are_read_as_utc(times: Any) -> None:
    assert serving.records(frame(time=times), SCHEMA)["time"].to_pylist() == [AT]


def test_records_come_out_in_the_streams_schema() -> None:
    got = serving.records(frame(extra=["x"], entity=[17]), SCHEMA)
    assert got.schema == SCHEMA
    assert got.to_pylist() == [{"entity": "17", "time": AT, "pressure": 4.0, "flow": 1.0}]


def test_missing_readings_are_null() -> None:
    got = serving.records(frame(pressure=[float("nan")], flow=[None]), SCHEMA)
    assert got.to_pylist()[0]["pressure"] is None
    assert got.to_pylist()[0]["flow"] is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"flow": None}, "missing columns: flow; expected entity, time, pressure, flow"),
        ({"flow": None, "time": None}, "missing columns: time, flow"),
        ({"time": [1_767_225_600]}, "column time: expected ISO 8601 times"),
        ({"time": ["yesterday"]}, "column time: expected ISO 8601 times"),
        ({"time": [None]}, "column time: 1 values are missing"),
        ({"entity": [None]}, "column entity: 1 values are missing"),
        ({"pressure": ["high"]}, "column pressure: expected numbers"),
    ],
)
def test_records_that_cannot_be_read_are_refused_by_column(change: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        serving.records(frame(**change), SCHEMA)


def test_transactions_keep_their_categories() -> None:
    fields = {"id": "id", "entity": "card", "amount": "amount", "categories": ("country",)}
    config = {"name": "cards", "kind": "transaction", "source": {"path": "x"}, "fields": fields}
    schema = schemas.records(TransactionStream.model_validate(config))
    rows = {"id": [1, 2], "entity": "c", "time": "2026-01-01", "amount": [3, "4.5"], "country": ["FR", None]}
    got = serving.records(pd.DataFrame(rows), schema).to_pylist()
    assert [row["country"] for row in got] == ["FR", None]
    assert [row["amount"] for row in got] == [3.0, 4.5]
    assert [row["id"] for row in got] == ["1", "2"]


def test_no_records_are_no_error() -> None:
    assert len(serving.records(frame().head(0), SCHEMA)) == 0


def test_an_answer_is_json() -> None:
    share = {"channel": "flow", "share": 0.5, "expected": float("nan"), "actual": float("inf")}
    row = {"entity": "p1", "time": AT, "id": None, "score": float("nan"), "raw": 1.5, "flag": True}
    row |= {"contributions": [share], "version": 0, "date": AT.date()}
    answer = serving.answer(pa.Table.from_pylist([row], schema=schemas.SCORES))
    (got,) = json.loads(json.dumps(answer.to_dict("records"), allow_nan=False))
    assert got["time"] == "2026-01-01T00:00:00+00:00"
    assert got["score"] is None
    assert got["raw"] == 1.5
    assert got["flag"] is True
    assert got["contributions"][0]["channel"] == "flow"
    assert list(got) == serving.COLUMNS


@pytest.fixture(scope="module")
def published(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> tuple[Registry, int, Path]:
    """A detector really trained, and logged as a version."""
    from pipeline.learning import learn

    history = some_records(1500)
    learned = learn(STREAM, history, tmp_path_factory.mktemp("learned"))
    with registry.run(STREAM.name) as run:
        number = run.bundle(learned.bundle.folder, SCHEMA, example=history.slice(0, 40))
    return registry, number, learned.bundle.folder


@pytest.mark.slow
def test_a_versions_digest_is_its_bundles(published: tuple[Registry, int, Path], tmp_path: Path) -> None:
    from pipeline.models.bundle import Bundle

    registry, number, _ = published
    version = registry.version(STREAM.name, number)
    folder = registry.download(STREAM.name, number, tmp_path)
    assert Bundle.load(folder, digest=version.digest, stream=STREAM).digest == version.digest


@pytest.mark.slow
def test_the_loaded_model_scores_as_the_pipeline_does(published: tuple[Registry, int, Path]) -> None:
    import mlflow

    from pipeline.models.bundle import Bundle

    registry, number, folder = published
    model = mlflow.pyfunc.load_model(registry.version(STREAM.name, number).source)
    records = some_records(60)
    got = model.predict(records.to_pandas())
    expected = score_table(Bundle.load(folder, stream=STREAM), records)
    assert len(got) == len(expected) > 0
    assert got["score"].tolist() == expected["score"].to_pylist()
    assert got["contributions"][0] == serving.answer(expected)["contributions"][0]
    assert model.predict(model.input_example)["entity"].tolist()[0] == "p1"


@pytest.mark.slow
def test_a_model_whose_bundle_was_changed_does_not_load(
    published: tuple[Registry, int, Path], tmp_path: Path
) -> None:
    import mlflow

    registry, number, _ = published
    source = registry.version(STREAM.name, number).source
    copy = Path(mlflow.artifacts.download_artifacts(source, dst_path=str(tmp_path)))
    (copy / "artifacts" / "bundle" / "detector.json").write_text("{}")
    with pytest.raises(BundleError, match=r"detector\.json"):
        mlflow.pyfunc.load_model(str(copy))


@pytest.fixture
def served(published: tuple[Registry, int, Path], tmp_path: Path) -> Iterator[str]:
    """`mlflow models serve` as anybody would start it, far from this checkout."""
    registry, number, _ = published
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    uri = registry.version(STREAM.name, number).source.removeprefix("file://")
    command = ["-m", "mlflow", "models", "serve", "-m", uri, "--env-manager", "local", "-p", port]
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"  # as an active environment has it
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, *command], cwd=tmp_path, env=env, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield _when_up(server, f"http://127.0.0.1:{port}", tmp_path / "log")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


def _when_up(server: subprocess.Popen[bytes], url: str, log: Path) -> str:
    for _ in range(300):
        if server.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/ping").status_code == 200:
                return url
        except httpx.TransportError:
            time.sleep(0.3)
    pytest.fail(f"mlflow models serve did not come up: {log.read_text()[-2000:]}")


@pytest.mark.slow
def test_mlflow_models_serve_answers_a_scoring_request(
    served: str, published: tuple[Registry, int, Path]
) -> None:
    from pipeline.models.bundle import Bundle

    records = some_records(60)
    rows = [row | {"time": row["time"].isoformat()} for row in records.to_pylist()]
    answer = httpx.post(f"{served}/invocations", json={"dataframe_records": rows}, timeout=60)
    assert answer.status_code == 200, answer.text
    got = answer.json()["predictions"]
    expected = score_table(Bundle.load(published[2], stream=STREAM), records)
    assert [row["time"] for row in got] == [t.isoformat() for t in expected["time"].to_pylist()]
    assert [row["score"] for row in got] == pytest.approx(expected["score"].to_pylist(), abs=1e-6)
    assert {c["channel"] for row in got for c in row["contributions"]} <= {"pressure", "flow"}

    without = [{k: v for k, v in row.items() if k != "flow"} for row in rows]
    refused = httpx.post(f"{served}/invocations", json={"dataframe_records": without}, timeout=60)
    assert refused.status_code == 400
    assert "flow" in refused.text
