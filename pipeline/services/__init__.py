"""Airflow, MLflow and the simulator on one machine, for `make demo` and `make up`.

In: a home. Out: servers on 127.0.0.1 with all their state below it. Not for production: see compose.yaml.
"""

from __future__ import annotations

from pipeline.services.client import Airflow, RunResult, TaskResult
from pipeline.services.local import Running, memory, start, status, stop
from pipeline.services.settings import Addresses, environment, load_addresses

__all__ = [
    "Addresses",
    "Airflow",
    "RunResult",
    "Running",
    "TaskResult",
    "environment",
    "load_addresses",
    "memory",
    "start",
    "status",
    "stop",
]
