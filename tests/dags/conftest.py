"""One Airflow database for the whole room, one project folder per test."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DAGS = ROOT / "dags"
END = datetime(2026, 3, 1, tzinfo=UTC)


def stream(feed: Path, **changes: Any) -> dict[str, Any]:
    """A small pump station that learns in seconds."""
    return {
        "kind": "sensor",
        "description": "Pumps of the test.",
        "owner": "testers",
        "source": {"type": "files", "path": str(feed), "pattern": "*.csv*", "settle": "0s"},
        "fields": {
            "time": {"column": "time"},
            "entity": "pump",
            "channels": [{"name": "pressure", "unit": "bar"}, {"name": "flow", "unit": "m3/h"}],
        },
        "window": {"length": 16, "stride": 4, "delay": 3},
        "model": {"units": [8], "latent": 4, "epochs": 2, "max_windows": 500},
        "training": {"until": "2026-02-28T00:00:00+00:00"},
        "shards": 2,
        "alert": {"false_alarms": "1/day", "receivers": ["log"]},
        "schedules": {"ingest": "5m", "train": "0 4 * * 1", "score": "1d"},
        **changes,
    }


class Project:
    """A project folder: configs, feeds and a home."""

    def __init__(self, root: Path) -> None:
        self.root, self.streams = root, root / "configs" / "streams"
        self.streams.mkdir(parents=True)

    def add(self, name: str, config: dict[str, Any] | str) -> None:
        text = config if isinstance(config, str) else yaml.safe_dump(config)
        (self.streams / f"{name}.yaml").write_text(text)

    @property
    def env(self) -> dict[str, str]:
        return {
            "OFFBEAT_PROJECT": str(self.root),
            "OFFBEAT_HOME": str(self.root / "home"),
            "OFFBEAT_CONFIGS": str(self.root / "configs"),
        }


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = Project(tmp_path)
    for name, value in made.env.items():
        monkeypatch.setenv(name, value)
    for name in ("OFFBEAT_DATABASE", "OFFBEAT_TABLES", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return made


def airflow_env(home: Path) -> dict[str, str]:
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "false",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "false",
    }


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Airflow, configured for a fresh SQLite database with its tables and pools."""
    if "airflow" in sys.modules:
        pytest.fail("airflow was imported before its test database was set up")
    home = tmp_path_factory.mktemp("airflow")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in airflow_env(home).items():
            patch.setenv(name, value)
        patch.setattr(sys, "path", [str(DAGS), str(ROOT / "plugins"), *sys.path])
        from airflow.utils.db import initdb

        initdb()
        yield


Parse = Callable[[], Any]


@pytest.fixture
def parse(airflow: None, project: Project) -> Parse:
    """Parse the real DAG folder against this test's project."""

    def bag() -> Any:
        from airflow.dag_processing.dagbag import DagBag

        return DagBag(str(DAGS))

    return bag


@pytest.fixture
def clean_environment() -> dict[str, str]:
    """The environment of a process that knows nothing of this one's Airflow."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "OFFBEAT"))}
