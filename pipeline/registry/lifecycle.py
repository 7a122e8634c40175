"""A run's beginning and end: its experiment, its system metrics, and how it ended.

In: a client and a stream's name. Out: a `Run` for the length of a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from pipeline.errors import OffbeatError
from pipeline.registry.runs import Run, clean, clean_key
from pipeline.registry.tracking import translated, unless_missing
from pipeline.registry.versions import model_name

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARENT = "mlflow.parentRunId"  # MLflow's own tag of a nested run
SAMPLING = 1.0  # seconds between two readings of the system's metrics


@contextmanager
def running(
    client: MlflowClient,
    stream: str,
    kind: str,
    tags: Mapping[str, Any],
    artifacts: str | None,
    again: str | None = None,
) -> Iterator[Run]:
    """Open a run for the length of the block; see `Registry.run`.

    Args:
        client: MLflow's client.
        stream: Name of the stream.
        kind: What the run is.
        tags: More tags.
        artifacts: Where a new experiment keeps its files; None: where the server says.
        again: Id of a run to go on with.
    """
    with translated("start a run"):
        run = _go_on(client, stream, again) if again else None
        run = run or _start(client, stream, kind, tags, artifacts)
    try:
        with _watched(client, run):
            yield run
    except BaseException as error:
        _fail(client, run, error)
        raise
    with translated("end the run"):
        client.set_terminated(run.id, "FINISHED")


def _start(
    client: MlflowClient, stream: str, kind: str, tags: Mapping[str, Any], artifacts: str | None
) -> Run:
    marks = {"offbeat.stream": stream, "offbeat.kind": kind, "mlflow.source.name": f"offbeat {kind} {stream}"}
    marks |= {clean_key(k): clean(v) for k, v in tags.items()}
    experiment = _experiment(client, model_name(stream), artifacts)
    _ensure_model(client, stream)
    run = client.create_run(experiment, tags=marks)
    return Run(client, stream, experiment, run.info.run_id)


def _go_on(client: MlflowClient, stream: str, run_id: str) -> Run | None:
    found = unless_missing(lambda: client.get_run(run_id))
    if found is None or found.info.lifecycle_stage == "deleted":
        return None
    client.update_run(run_id, status="RUNNING")
    return Run(client, stream, found.info.experiment_id, run_id)


def _fail(client: MlflowClient, run: Run, error: BaseException) -> None:
    """End a run as failed; MLflow being away must not hide why the block failed."""
    status = "FAILED" if isinstance(error, Exception) else "KILLED"
    with suppress(OffbeatError), translated("end the run"):
        client.set_tag(run.id, "offbeat.failure", clean(f"{type(error).__name__}: {error}"))
        client.set_terminated(run.id, status)


@contextmanager
def _watched(client: MlflowClient, run: Run) -> Iterator[None]:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    make: Any = SystemMetricsMonitor  # untyped
    monitor = make(run.id, sampling_interval=SAMPLING, tracking_uri=client.tracking_uri)
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()


def _experiment(client: MlflowClient, name: str, artifacts: str | None) -> str:
    """Return the experiment's id; make it, or bring it back from MLflow's bin."""
    from mlflow.exceptions import MlflowException

    if (found := client.get_experiment_by_name(name)) is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifacts))
        except MlflowException:  # another process was first
            if (found := client.get_experiment_by_name(name)) is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _ensure_model(client: MlflowClient, stream: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(model_name(stream), {"offbeat.stream": stream})
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
