"""Airflow's REST API, as much of it as is needed: trigger a run, wait for it, read what its tasks did."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx

from pipeline.errors import Unavailable

_DONE = ("success", "failed")
PATIENCE = 60.0  # seconds for one answer: two cores that start Airflow are slow to speak
TRIES = 3


@dataclass(frozen=True)
class TaskResult:
    """One task of a run: `map_index` is -1 where it is not mapped; `seconds` is None where it never ran."""

    task_id: str
    map_index: int
    state: str
    seconds: float | None


@dataclass(frozen=True)
class RunResult:
    """How a DAG run ended."""

    dag_id: str
    run_id: str
    state: str
    seconds: float
    tasks: tuple[TaskResult, ...]
    url: str

    @property
    def ok(self) -> bool:
        """Whether the run succeeded."""
        return self.state == "success"


class Airflow:
    """A client that logs in on first use, and again when its token has run out."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url, self._user, self._password = url, user, password
        self._http = httpx.Client(base_url=url, timeout=PATIENCE)

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        """Call `/api/v2<path>`; return the decoded answer.

        Raises:
            httpx.HTTPStatusError: Airflow refused.
        """
        answer = self._request(method, f"/api/v2{path}", **arguments)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            self._login()
            answer = self._request(method, f"/api/v2{path}", **arguments)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Ask; a question that only reads is asked again where a busy machine let it time out."""
        for _ in range(TRIES - 1 if method == "GET" else 0):
            with suppress(httpx.TimeoutException):
                return self._http.request(method, path, **arguments)
        return self._http.request(method, path, **arguments)

    def _login(self) -> None:
        answer = self._http.post("/auth/token", json={"username": self._user, "password": self._password})
        answer.raise_for_status()
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def healthy(self, parts: Iterable[str] = ("metadatabase", "scheduler", "dag_processor")) -> bool:
        """Say whether the server answers and all `parts` have been heard of lately."""
        try:
            health = self.call("GET", "/monitor/health")
        except httpx.HTTPError:
            return False
        return all((health.get(part) or {}).get("status") == "healthy" for part in parts)

    def dags(self) -> set[str]:
        """Return the ids of the DAGs Airflow knows."""
        found: set[str] = set()
        while page := self.call("GET", "/dags", params={"limit": 100, "offset": len(found)})["dags"]:
            found |= {dag["dag_id"] for dag in page}
        return found

    def import_errors(self) -> list[str]:
        """Return what went wrong with DAG files."""
        return [e["stack_trace"] for e in self.call("GET", "/importErrors")["import_errors"]]

    def ensure_pool(self, name: str, slots: int, about: str) -> None:
        """Make a pool, unless there is one of that name: people may have given it other slots."""
        body = {"name": name, "slots": slots, "description": about}
        for _ in range(TRIES):
            known = {pool["name"] for pool in self.call("GET", "/pools", params={"limit": 100})["pools"]}
            if name in known:
                return
            with suppress(httpx.TimeoutException):  # made or not: the next look tells
                self.call("POST", "/pools", json=body)
                return
        raise Unavailable(f"pool {name}: Airflow did not answer in {TRIES} times {PATIENCE:g} s")

    def trigger(self, dag_id: str, params: Mapping[str, Any] | None = None) -> str:
        """Start a run; return its id."""
        body = {"logical_date": None, "conf": dict(params or {})}
        return str(self.call("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Return a DAG's latest runs as Airflow tells them, newest first."""
        runs = self.call("GET", f"/dags/{dag_id}/dagRuns", params={"order_by": "-id", "limit": 100})
        return list(runs["dag_runs"])

    def wait(self, dag_id: str, run_id: str, timeout: float = 600, poll: float = 0.5) -> RunResult:
        """Wait for a run's end.

        Raises:
            Unavailable: it did not end in time.
        """
        began = time.monotonic()
        path = f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"
        while (run := self.call("GET", path))["state"] not in _DONE:
            if time.monotonic() - began > timeout:
                raise Unavailable(f"{dag_id} {run_id}: {run['state']} after {timeout:g} s")
            time.sleep(poll)
        tasks = self.call("GET", f"{path}/taskInstances", params={"limit": 1000})["task_instances"]
        return RunResult(
            dag_id=dag_id,
            run_id=run_id,
            state=run["state"],
            seconds=_seconds(run.get("queued_at") or run["start_date"], run["end_date"]) or 0.0,
            tasks=tuple(_task(t) for t in tasks),
            url=f"{self.url}/dags/{dag_id}/runs/{quote(run_id, safe='')}",
        )

    def result(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Any:
        """Return what a task returned, or None."""
        path = f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task_id}"
        params: dict[str, Any] = {"map_index": map_index, "deserialize": False, "stringify": False}
        try:
            return self.call("GET", f"{path}/xcomEntries/return_value", params=params)["value"]
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.NOT_FOUND:
                return None
            raise


def _task(task: Mapping[str, Any]) -> TaskResult:
    seconds = _seconds(task["start_date"], task["end_date"])
    return TaskResult(task["task_id"], task["map_index"], task["state"] or "none", seconds)


def _seconds(start: str | None, end: str | None) -> float | None:
    if not start or not end:
        return None
    return round((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds(), 2)
