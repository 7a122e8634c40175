"""Many processes at once, killed ones, and an MLflow that is not there."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

import pipeline
from pipeline.errors import Unavailable
from pipeline.registry import Registry, bundles

ROOT = Path(pipeline.__file__).parent.parent
CROWD = [sys.executable, str(Path(__file__).with_name("crowd.py"))]
ENV = os.environ | {"PYTHONPATH": str(ROOT)}


def crowd(verb: str, registry: Registry, stream: str, processes: int, each: int = 1) -> list[SimpleNamespace]:
    """Run processes with `each` threads and return what each thread said."""
    arguments = [verb, registry.tracking, str(registry.artifacts), stream, str(processes), str(each)]
    done = subprocess.run([*CROWD, *arguments], cwd=ROOT, env=ENV, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(said) == processes * each
    return [SimpleNamespace(ok=s.get("ok"), error=s.get("error"), text=s.get("text")) for s in said]


def test_fifty_promotions_at_once_have_one_winner(
    registry: Registry, stream: str, bundle: Path, records: pa.Table
) -> None:
    with registry.run(stream) as run:
        for _ in range(50):
            run.bundle(bundle, records.schema, example=records)
    said = crowd("promote", registry, stream, processes=10, each=5)
    winners = [s.ok for s in said if s.ok]
    assert len(winners) == 1
    assert {s.error for s in said if not s.ok} == {"Conflict"}
    champion = registry.champion(stream)
    assert champion.version == winners[0]
    assert champion.complete
    assert [v.version for v in registry.versions(stream) if v.tags.get("offbeat.decision")] == winners


def test_processes_that_start_on_an_empty_folder_all_get_in(tmp_path: Path) -> None:
    registry = Registry(f"sqlite:///{tmp_path}/new/mlflow.db", tmp_path / "artifacts")
    said = crowd("first", registry, "pump", processes=6)
    assert [s.text for s in said if s.error] == []
    assert len({s.ok for s in said}) == 1


@pytest.mark.slow
def test_a_killed_promotion_leaves_a_whole_champion(
    registry: Registry, stream: str, publish: Callable[[], int], tmp_path: Path
) -> None:
    registry.promote(stream, publish(), "first", over=None)
    arguments = ["forever", registry.tracking, str(registry.artifacts), stream, "1", "1"]
    seen = []
    for _ in range(5):
        process = subprocess.Popen(
            [*CROWD, *arguments], cwd=ROOT, env=ENV, start_new_session=True, stdout=subprocess.PIPE
        )
        assert process.stdout.readline()  # it has promoted once
        time.sleep(random.random() / 2)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        champion = registry.champion(stream)
        assert champion.complete
        assert bundles.digest(registry.download(stream, champion.version, tmp_path)) == champion.digest
        seen.append(champion.version)
    assert seen == sorted(seen)
    assert seen[-1] > 1


@pytest.fixture
def no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.mark.usefixtures("no_retries")
def test_a_server_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    registry = Registry("http://user:hunter2secret@127.0.0.1:9", tmp_path)
    for ask in (
        lambda: registry.champion("pump"),
        lambda: registry.versions("pump"),
        lambda: start(registry),
    ):
        with pytest.raises(Unavailable) as caught:
            ask()
        assert "hunter2secret" not in str(caught.value)
        assert "could not" in str(caught.value)


def start(registry: Registry) -> None:
    with registry.run("pump"):
        pytest.fail("the block must not run")


def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"this is no SQLite database, whatever its name says" * 99)
    registry = Registry(f"sqlite:///{tmp_path}/mlflow.db", tmp_path)
    with pytest.raises(Unavailable, match="could not open MLflow"):
        registry.champion("pump")
