"""The same promises against a real MLflow server over HTTP, which keeps the artifacts itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from pipeline.errors import Conflict, DataError, Unavailable
from pipeline.registry import Registry, bundles

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, subprocess.Popen[bytes]]]:
    home = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = [f"--backend-store-uri=sqlite:///{home}/m.db", f"--artifacts-destination={home}/artifacts"]
    env = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (home / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, *command, *stores], env=env, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait(f"http://127.0.0.1:{port}/health", home / "log")
        yield Registry(f"http://127.0.0.1:{port}", home / "local"), server
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


def _wait(url: str, log: Path) -> None:
    for _ in range(300):
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.3)
    pytest.fail(f"the MLflow server did not come up: {log.read_text()[-2000:]}")


def test_a_server_keeps_runs_versions_and_bundles(
    remote: tuple[Registry, subprocess.Popen[bytes]], bundle: Path, records: pa.Table, tmp_path: Path
) -> None:
    registry, _ = remote
    assert registry.champion("pump") is None
    assert registry.versions("pump") == []
    with registry.run("pump") as run:
        run.params({"a": 1})
        run.epoch({"epoch": 1, "loss": 0.5})
        run.text("kind: sensor", "stream.yaml")
        first = run.bundle(bundle, records.schema, example=records)
        second = run.bundle(bundle, records.schema, example=records)
    assert registry.champion("pump") is None
    registry.promote("pump", first, "first", over=None)
    with pytest.raises(Conflict):
        registry.promote("pump", second, "late", over=None)
    registry.promote("pump", second, "better", over=first)
    assert registry.champion("pump").aliases == ("champion",)
    assert registry.rollback("pump", "worse").version == first
    with pytest.raises(DataError):
        registry.version("pump", 99)
    got = registry.download("pump", first, tmp_path / "cache")
    assert bundles.digest(got) == bundles.digest(bundle)
    assert registry.version("pump", first).metrics == {"loss": 0.5}


def test_a_server_that_goes_away_is_unavailable_and_hides_no_failure(
    remote: tuple[Registry, subprocess.Popen[bytes]],
    bundle: Path,
    records: pa.Table,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry, server = remote
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(Unavailable, match="could not log parameters"), registry.run("pump") as run:
        os.killpg(server.pid, signal.SIGSTOP)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        run.params({"a": 1})
    os.killpg(server.pid, signal.SIGCONT)
