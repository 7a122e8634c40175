"""Starts and stops the local servers, and knows how they do."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import httpx
import psutil

from pipeline.config.loader import load_project
from pipeline.errors import Unavailable
from pipeline.home import Home
from pipeline.services import processes, settings
from pipeline.services.client import Airflow
from pipeline.services.processes import Service
from pipeline.services.settings import Addresses


@dataclass(frozen=True)
class Running:
    """The servers of a home, up and answering."""

    home: Home
    addresses: Addresses
    airflow: Airflow

    @property
    def password(self) -> str:
        """Password of `admin` in Airflow's pages."""
        return settings.password(self.home)

    def wait_for_dags(self, dag_ids: Iterable[str], timeout: float = 60) -> float:
        """Wait until Airflow has parsed these DAGs; return how long that took, in seconds."""
        wanted = set(dag_ids)
        folder = settings.folder(self.home)
        return processes.wait_until(
            f"DAGs {', '.join(sorted(wanted))}", lambda: wanted <= self.airflow.dags(), folder, timeout
        )

    def stop(self) -> list[str]:
        """End all servers of this home."""
        return stop(self.home)


def start(
    home: Home,
    *,
    mlflow: bool = True,
    triggerer: bool | None = None,
    simulate: tuple[str, ...] | None = None,
    addresses: Addresses | None = None,
    parallelism: int = 4,
    timeout: float = 180,
) -> Running:
    """Start Airflow, MLflow's server and, given its arguments, the simulator; wait until they answer.

    Servers that run already are left as they are. Left out, `triggerer` is started where a stream asks to be
    woken.

    Raises:
        Unavailable: one did not come up; with the end of its log. What had been started is stopped again.
    """
    folder = settings.folder(home)
    up = settings.load_addresses(home) if _alive(folder) else None
    where = up or addresses or Addresses.choose()
    settings.save_addresses(home, where)
    env = settings.environment(home, where, parallelism=parallelism)
    if triggerer is None:
        triggerer = any(stream.schedules.wake for stream in load_project(home.configs).streams.values())
    client = Airflow(where.airflow_url, settings.USER, settings.password(home))
    try:
        if mlflow and _ours(home, where):
            processes.launch(folder, _mlflow(home, where), env)
        _prepare(home, folder, env)
        if mlflow and _ours(home, where):  # before any task runs: the server makes the database they share
            processes.wait_until("MLflow", partial(_answers, f"{where.mlflow_url}/health"), folder, timeout)
        first, *rest = _services(triggerer=triggerer, simulate=simulate)
        processes.launch(folder, first, env)
        processes.wait_until("Airflow", partial(client.healthy, ("metadatabase",)), folder, timeout)
        # While nobody else reads: SQLite keeps a writer out for as long as somebody does.
        for pool, (slots, about) in settings.POOLS.items():
            client.ensure_pool(pool, slots, about)
        for service in rest:
            processes.launch(folder, service, env)
        processes.wait_until("Airflow", client.healthy, folder, timeout)
    except (Unavailable, OSError, httpx.HTTPError):
        stop(home)
        raise
    return Running(home, where, client)


def stop(home: Home) -> list[str]:
    """End all servers of a home; return their names."""
    return processes.end(settings.folder(home))


def status(home: Home) -> dict[str, bool]:
    """Return each server that was started, and whether it runs."""
    folder = settings.folder(home)
    return {name: processes.running(folder, name) is not None for name in processes.names(folder)}


def memory(home: Home) -> dict[str, int]:
    """Return the memory each server and its children use, in bytes; shared pages are split (PSS)."""
    folder = settings.folder(home)
    alive = {name: p for name in processes.names(folder) if (p := processes.running(folder, name))}
    return {name: sum(_bytes(p) for p in processes.family([process])) for name, process in alive.items()}


def _bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def _alive(folder: Path) -> bool:
    return any(processes.running(folder, name) for name in processes.names(folder))


def _ours(home: Home, where: Addresses) -> bool:
    """Say whether runs go into this home, so that a server of ours can show them."""
    return home.tracking in (settings.tracking_database(home), where.mlflow_url)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False


def _tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _prepare(home: Home, folder: Path, env: dict[str, str]) -> None:
    """Make or migrate Airflow's database, once for each version of Airflow."""
    done, version = settings.airflow_home(home) / "migrated", metadata.version("apache-airflow-core")
    if not done.exists() or done.read_text() != version:
        processes.run_to_end(folder, Service("setup", (_tool("airflow"), "db", "migrate")), env)
        done.write_text(version)


def _services(*, triggerer: bool, simulate: tuple[str, ...] | None) -> Sequence[Service]:
    airflow = _tool("airflow")
    parts = [
        Service("api-server", (airflow, "api-server")),
        Service("scheduler", (airflow, "scheduler", "--skip-serve-logs")),
        Service("dag-processor", (airflow, "dag-processor")),
    ]
    if triggerer:
        parts.append(Service("triggerer", (airflow, "triggerer", "--skip-serve-logs")))
    if simulate is not None:
        parts.append(Service("simulator", (sys.executable, "-m", "pipeline.simulate", *simulate)))
    return parts


def _mlflow(home: Home, where: Addresses) -> Service:
    home.artifacts.mkdir(parents=True, exist_ok=True)
    options = {
        "--backend-store-uri": settings.tracking_database(home),
        "--artifacts-destination": home.artifacts.as_uri(),
        "--host": settings.HOST,
        "--port": str(where.mlflow),
        "--workers": "1",
    }
    return Service("mlflow", (_tool("mlflow"), "server", *(t for option in options.items() for t in option)))
