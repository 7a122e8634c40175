"""How the local servers are set up: addresses, secrets and environment.

In: a home. Out: environment variables. Secrets are drawn once and kept in files that only their owner reads.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.home import Home

HOST = "127.0.0.1"
USER = "admin"
POOLS = {"gpu": (1, "Trainings that may run at once: one for each GPU, or one where there is none")}


@dataclass(frozen=True)
class Addresses:
    """Where the local servers are."""

    airflow: int
    mlflow: int

    @classmethod
    def choose(cls, airflow: int = 8080, mlflow: int = 5000) -> Addresses:
        """Take the usual ports (or `OFFBEAT_AIRFLOW_PORT`, `OFFBEAT_MLFLOW_PORT`); free ones where taken."""
        wanted = (
            int(os.environ.get("OFFBEAT_AIRFLOW_PORT", airflow)),
            int(os.environ.get("OFFBEAT_MLFLOW_PORT", mlflow)),
        )
        return cls(*(_free(port) for port in wanted))

    @property
    def airflow_url(self) -> str:
        """Airflow's pages and API."""
        return f"http://{HOST}:{self.airflow}"

    @property
    def mlflow_url(self) -> str:
        """MLflow's pages and API."""
        return f"http://{HOST}:{self.mlflow}"


def _free(port: int) -> int:
    """Return `port`, or another one where somebody listens on it."""
    for candidate in (port, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, candidate))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port")


def folder(home: Home) -> Path:
    """Return the folder of the servers' state: pid files, logs, Airflow's home."""
    return home.root / "services"


def airflow_home(home: Home) -> Path:
    """Return Airflow's own home."""
    return home.root / "airflow"


def save_addresses(home: Home, addresses: Addresses) -> None:
    """Remember where the servers are."""
    folder(home).mkdir(parents=True, exist_ok=True)
    (folder(home) / "addresses.json").write_text(json.dumps(asdict(addresses)))


def load_addresses(home: Home) -> Addresses | None:
    """Return where the servers were started, or None."""
    path = folder(home) / "addresses.json"
    return Addresses(**json.loads(path.read_text())) if path.exists() else None


def _kept(path: Path, draw: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a private JSON file holds; write `draw` into it where there is none yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(dict(draw), file)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def password(home: Home) -> str:
    """Return the password of `admin` in the local Airflow."""
    kept = _kept(airflow_home(home) / "passwords.json", {USER: secrets.token_urlsafe(15)})
    return str(kept[USER])


def _keys(home: Home) -> dict[str, str]:
    return _kept(
        airflow_home(home) / "keys.json",
        {
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
            "AIRFLOW__API__SECRET_KEY": secrets.token_urlsafe(32),
            "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        },
    )


def tracking_database(home: Home) -> str:
    """Return the SQLite database of MLflow's server, which is also where runs go without a server."""
    return f"sqlite:///{home.root / 'mlflow' / 'mlflow.db'}"


def project_dags() -> Path:
    """Return the folder of the DAG files: beside the package, in a checkout."""
    return Path(__file__).resolve().parents[2] / "dags"


def environment(home: Home, addresses: Addresses, *, parallelism: int = 4) -> dict[str, str]:
    """Return the environment of every local server and of what it runs."""
    password(home)
    state = airflow_home(home)
    code = project_dags().parent
    path = os.pathsep.join(p for p in (str(code), os.environ.get("PYTHONPATH", "")) if p)
    ours = {
        "OFFBEAT_HOME": str(home.root),
        "OFFBEAT_PROJECT": str(home.project),
        "OFFBEAT_CONFIGS": str(home.configs),
        "PYTHONPATH": path,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "AIRFLOW_HOME": str(state),
        "AIRFLOW__CORE__DAGS_FOLDER": str(project_dags()),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(code / "plugins"),
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": str(parallelism),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "false",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{addresses.airflow_url}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(state / "passwords.json"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{state / 'airflow.db'}?timeout=60",
        "AIRFLOW__API__HOST": HOST,
        "AIRFLOW__API__PORT": str(addresses.airflow),
        "AIRFLOW__API__BASE_URL": addresses.airflow_url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "false",
    }
    return {**os.environ, **ours, **_keys(home)}
