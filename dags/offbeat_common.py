"""What the DAG files share: schedules read from a stream, parameters, retries, and how errors end a task.

In: a stream's configuration, a task's context. Out: arguments for `@dag` and `@task`. Imports nothing heavy.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import (
    Asset,
    AssetAny,
    AssetOrTimeSchedule,
    AssetWatcher,
    Connection,
    CronDataIntervalTimetable,
    CronTriggerTimetable,
    DeltaDataIntervalTimetable,
    DeltaTriggerTimetable,
    Param,
)
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException, AirflowSkipException

from pipeline.config.schedule import parse_schedule
from pipeline.errors import NoChampion, OffbeatError, TerminalError
from pipeline.log import redact

if TYPE_CHECKING:
    from pipeline.config.models import Stream

log = logging.getLogger("offbeat.dags")

START = datetime(2000, 1, 1, tzinfo=UTC)
"""Before any data: a backfill may go back this far. Nothing catches up by itself."""

TRAIN_POOL = os.environ.get("OFFBEAT_TRAIN_POOL", "gpu")
"""Pool that trainings share. `offbeat up` and compose make it; `default_pool` works where nobody did."""

_ISO8601 = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})?)?$"

RETRIES: dict[str, Any] = {
    "retries": 4,
    "retry_delay": timedelta(seconds=20),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=10),
}
"""For transient errors; `outcomes` keeps terminal ones from being tried again."""

COMMON: dict[str, Any] = {"catchup": False, "max_active_runs": 1}


class Assets:
    """What a stream's DAGs tell each other about."""

    def __init__(self, stream: str) -> None:
        self.observations = Asset(f"offbeat://{stream}/observations", group="offbeat")
        self.model = Asset(f"offbeat://{stream}/model", group="offbeat")
        self.no_model = Asset(f"offbeat://{stream}/no-model", group="offbeat")
        self.anomalies = Asset(f"offbeat://{stream}/anomalies", group="offbeat")


def arrivals_of(stream: Stream) -> list[Asset]:
    """Return the asset that changes whenever something comes to the stream's source, where it is watched."""
    if not stream.schedules.wake:
        return []
    from offbeat_arrivals import Arrivals  # of `plugins/`, which the triggerer knows too

    watcher = AssetWatcher(name=f"arrivals of {stream.name}", trigger=Arrivals(stream.name))
    return [Asset(f"offbeat://{stream.name}/arrivals", group="offbeat", watchers=[watcher])]


def every(schedule: str) -> Any:
    """Return a timetable that runs at the times of `schedule`: a cron line, a duration, or `never`."""
    when = parse_schedule(schedule)
    if isinstance(when, timedelta):
        return DeltaTriggerTimetable(when)
    return CronTriggerTimetable(when, timezone="UTC") if when else None


def intervals(schedule: str) -> Any:
    """Return a timetable whose runs each own a stretch of time, which is what a backfill walks over."""
    when = parse_schedule(schedule)
    if isinstance(when, timedelta):
        return DeltaDataIntervalTimetable(when)
    return CronDataIntervalTimetable(when, timezone="UTC") if when else None


def on_assets(timetable: Any, *assets: Asset) -> Any:
    """Run at the times of `timetable`, if there are any, and whenever any of `assets` changes."""
    if not assets:
        return timetable
    if timetable is None:
        return AssetAny(*assets)
    return AssetOrTimeSchedule(timetable=timetable, assets=AssetAny(*assets))


def _moment(title: str, description: str) -> Param:
    shape: dict[str, Any] = {"type": ["null", "string"], "format": "date-time", "pattern": _ISO8601}
    return Param(None, title=title, description=description, **shape)


def score_params() -> dict[str, Param]:
    """Return what a person may set when scoring by hand."""
    return {
        "start": _moment("From", "Score again from here; left empty, only what is new."),
        "end": _moment("Until", "Score up to here, not including it."),
        "silent": Param(False, type="boolean", title="Silent", description="Record anomalies, alert nobody."),
    }


def scope(context: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a scoring run covers: a backfill its own interval, silently; any other what was asked."""
    if context["dag_run"].run_type == "backfill":
        begin, end = context["data_interval_start"], context["data_interval_end"]
        return {"start": begin.isoformat(), "end": end.isoformat(), "silent": True}
    return {name: context["params"].get(name) for name in ("start", "end", "silent")}


def run_name(context: Mapping[str, Any]) -> str:
    """Return the name of this run that alerts link to it by: `<dag id>/<run id>`."""
    return f"{context['dag_run'].dag_id}/{context['dag_run'].run_id}"


def tell_epoch(epoch: Mapping[str, Any]) -> None:
    """Show a training's progress in the task's log."""
    log.info(
        "epoch %s",
        ", ".join(f"{k} {v:.5g}" if isinstance(v, float) else f"{k} {v}" for k, v in epoch.items()),
    )


@contextmanager
def outcomes(*early: type[TerminalError]) -> Iterator[None]:
    """Turn a terminal error into a failure without retries; into a skip where it is only too early.

    No champion yet is always too early; `early` names more. A transient error passes through, and Airflow
    tries again with backoff.
    """
    too_early: tuple[type[TerminalError], ...] = (NoChampion, *early)
    try:
        yield
    except too_early as error:
        raise AirflowSkipException(redact(str(error))) from error
    except TerminalError as error:
        raise AirflowFailException(redact(str(error))) from error


def unless_news(context: Mapping[str, Any], summary: dict[str, Any], *counts: str) -> dict[str, Any]:
    """Hand on `summary`; where all its `counts` are zero, keep it but skip, so that no asset event goes out.

    Raises:
        AirflowSkipException: nothing changed, so nobody downstream need wake.
    """
    if any(summary.get(count) for count in counts):
        return summary
    context["ti"].xcom_push(key="return_value", value=summary)
    raise AirflowSkipException("nothing new")


def tell_failure(context: Mapping[str, Any]) -> None:
    """Tell the stream's receivers that a step gave up, as `on_failure_callback` of its tasks."""
    from pipeline.steps import Offbeat

    stream, step = _whose(context)
    raised = context.get("exception")
    problem = getattr(raised, "__cause__", None) or raised  # `outcomes` wraps what is terminal
    with _never_worse():
        Offbeat.open().failed(stream, step, type(problem).__name__, airflow_run=run_name(context))


def tell_success(context: Mapping[str, Any]) -> None:
    """Tell that a step works again, if it had failed; callback of tasks that end well or are skipped."""
    from pipeline.steps import Offbeat

    with _never_worse():
        Offbeat.open().works(*_whose(context))


CALLBACKS: dict[str, Any] = {
    "on_failure_callback": tell_failure,
    "on_success_callback": tell_success,
    "on_skipped_callback": tell_success,
}


def _whose(context: Mapping[str, Any]) -> tuple[str, str]:
    """Return the stream and the step that a task is of: `flag` of `score__pumps` is `pumps`, `score flag`."""
    step, _, stream = context["dag_run"].dag_id.partition("__")
    task = context["ti"]
    shard = f" {task.map_index}" if task.map_index >= 0 else ""
    return stream, (step if task.task_id == step else f"{step} {task.task_id}") + shard


@contextmanager
def _never_worse() -> Iterator[None]:
    """Say in the log what keeps a failure from being told, rather than to fail by it."""
    try:
        yield
    except OffbeatError as error:
        log.error("the failure could not be told: %s", redact(str(error)))


def lend_connections(config: str) -> None:
    """Put the Airflow connections that `config` refers to into this task's environment.

    There `${connection:NAME}` is resolved, with and without Airflow. A connection that Airflow does not
    know is left for the receiver that needs it to complain about.
    """
    for name in {found[1] for found in re.finditer(r"\$\{connection:([^:}]+)", config)}:
        with suppress(AirflowNotFoundException):
            os.environ.setdefault(f"AIRFLOW_CONN_{name.upper()}", Connection.get(name).get_uri())
