"""The connection to MLflow: quiet, set up once however many processes start, errors translated.

In: a tracking URI (`sqlite:///…` or `http://…`). Out: a client, locks, and Offbeat's own errors.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline import log
from pipeline.errors import DataError, OffbeatError, TerminalError, Unavailable

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

T = TypeVar("T")
SQLITE = "sqlite:///"
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # Airflow retries on top, with backoff
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",  # else a lock file in the working folder replaces our requirements
    "GIT_PYTHON_REFRESH": "quiet",
}
_OURS = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE", "RESOURCE_DOES_NOT_EXIST"}
_DENIED = {"PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"}


def quiet() -> None:
    """Set MLflow's environment so that it logs only warnings and phones nobody; keeps what is set."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def connect(tracking: str, lock: Path) -> MlflowClient:
    """Return a client; a SQLite database is created and migrated by one process while others wait.

    Raises:
        Unavailable: the database cannot be opened.
    """
    quiet()
    import mlflow

    logging.getLogger("mlflow").setLevel(os.environ["MLFLOW_LOGGING_LEVEL"].upper())  # imported before?

    def client() -> MlflowClient:
        return mlflow.MlflowClient(tracking_uri=tracking, registry_uri=tracking)

    with translated("open MLflow"):
        if not tracking.startswith(SQLITE) or _settled(database(tracking)):
            return client()
        with held(lock):
            return _settle(client, database(tracking))


def database(tracking: str) -> Path:
    """Return the file behind a `sqlite:///` URI."""
    return Path(tracking.removeprefix(SQLITE).partition("?")[0])


def _settled(file: Path) -> bool:
    """Tell whether all tables are there: WAL is what `_settle` switches on last."""
    if not file.exists():
        return False
    with closing(sqlite3.connect(file, timeout=20)) as link:
        return str(link.execute("PRAGMA journal_mode").fetchone()[0]) == "wal"


def _settle(open_client: Callable[[], MlflowClient], file: Path) -> MlflowClient:
    file.parent.mkdir(parents=True, exist_ok=True)
    client = open_client()  # makes the tables of runs
    client.search_registered_models(max_results=1)  # makes those of models
    with closing(sqlite3.connect(file, timeout=20)) as link:
        link.execute("PRAGMA journal_mode=WAL")  # readers don't wait for a run that writes metrics
    return client


@contextmanager
def held(lock: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file of this machine: between threads and between processes."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file lets go, and so does a crash


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn what MLflow raises inside the block into Offbeat's errors, without secrets.

    Raises:
        DataError: MLflow refuses what it was asked.
        TerminalError: MLflow refuses who asked.
        Unavailable: MLflow, its database or its artifact store does not answer.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except MlflowException as error:
        raise _meaning(error, doing) from _cause(error)
    except (DBAPIError, sqlite3.Error, OSError) as error:  # requests' errors are OSErrors
        raise Unavailable(_words(error, doing)) from _cause(error)


def pages(ask: Callable[..., Any]) -> list[Any]:
    """Return all that a search of MLflow's finds, page by page."""
    found, token = [], None
    while True:
        page = ask(max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def unless_missing(ask: Callable[[], T]) -> T | None:
    """Return the answer, or None if MLflow says that this model, version, alias or run is not there."""
    from mlflow.exceptions import MlflowException

    try:
        return ask()
    except MlflowException as error:
        no_alias = error.error_code == "INVALID_PARAMETER_VALUE" and "alias" in str(error)
        if no_alias or error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _meaning(error: MlflowException, doing: str) -> OffbeatError:
    kind = DataError if error.error_code in _OURS else Unavailable
    return (TerminalError if error.error_code in _DENIED else kind)(_words(error, doing))


def _words(error: Exception, doing: str) -> str:
    return f"could not {doing}: {log.redact(str(error))[:500]}"


def _cause(error: Exception) -> Exception | None:
    """Return the error itself, unless its own text would show a secret in a traceback."""
    return error if log.redact(str(error)) == str(error) else None
