"""One ingest, one train, one score and one watch DAG for each stream in `configs/streams/`.

In: the YAML files. Out: DAGs, tied by the assets they change. A broken file becomes one visible DAG that says
what is wrong with it, and takes no other stream down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import stream_docs
from airflow.sdk import dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from offbeat_common import (
    CALLBACKS,
    COMMON,
    RETRIES,
    START,
    TRAIN_POOL,
    Assets,
    arrivals_of,
    every,
    intervals,
    lend_connections,
    log,
    on_assets,
    outcomes,
    run_name,
    scope,
    score_params,
    tell_epoch,
    unless_news,
)

from pipeline.config.loader import load_project
from pipeline.config.problems import explain
from pipeline.errors import NotEnoughData
from pipeline.home import Home

if TYPE_CHECKING:
    from pipeline.config.models import Stream
    from pipeline.config.problems import ConfigErrors


def _arguments(step: str, stream: Stream, schedule: Any) -> dict[str, Any]:
    return {
        **COMMON,
        "start_date": START,
        "dag_id": f"{step}__{stream.name}",
        "dag_display_name": f"{step} {stream.name}",
        "description": stream_docs.line(step, stream),
        "doc_md": stream_docs.page(step, stream),
        "schedule": schedule,
        "tags": {"offbeat", step, stream.kind, f"stream:{stream.name}"},
        "default_args": {"owner": stream.owner or "offbeat", **RETRIES, **CALLBACKS},
    }


def ingest_dag(stream: Stream, assets: Assets) -> None:
    """Register `ingest__<stream>`: source → observations and rejects.

    It runs on time; where the stream says so, besides when something has come: a wake may get lost.
    """
    schedule = on_assets(every(stream.schedules.ingest), *arrivals_of(stream))

    @dag(**_arguments("ingest", stream, schedule))
    def ingest() -> None:
        @task(task_id="ingest", outlets=[assets.observations])
        def read() -> dict[str, Any]:
            """Read what the source has, from where the last commit stood."""
            from pipeline.steps import Offbeat

            with outcomes():
                lend_connections(stream.source.model_dump_json())
                summary = Offbeat.open().ingest(stream.name)
            return unless_news(get_current_context(), summary, "stored")

        read()

    ingest()


def train_dag(stream: Stream, assets: Assets) -> None:
    """Register `train__<stream>`: observations → model version, promoted when it passes the gate.

    It runs on time, and when scoring found no model; never on its own where the schedule says so.
    """
    on_time = every(stream.schedules.train)
    schedule = on_time and on_assets(on_time, assets.no_model)

    @dag(**_arguments("train", stream, schedule))
    def train() -> None:
        @task(task_id="train", outlets=[assets.model], pool=TRAIN_POOL)
        def learn() -> dict[str, Any]:
            """Train in a spawned process, calibrate, log to MLflow, promote."""
            from pipeline.steps import Offbeat

            context, offbeat = get_current_context(), Offbeat.open()
            kind = context["dag_run"].run_type
            with outcomes(*(() if kind == "manual" else (NotEnoughData,))):
                if kind == "asset_triggered" and offbeat.registry.champion(stream.name):
                    raise AirflowSkipException("it has a model by now")
                summary = offbeat.train(stream.name, on_epoch=tell_epoch)
            return unless_news(context, summary, "promoted")

        learn()

    train()


def score_dag(stream: Stream, assets: Assets) -> None:
    """Register `score__<stream>`: observations → scores (mapped over shards) → anomalies and alerts."""
    schedule = on_assets(intervals(stream.schedules.score), assets.observations, assets.model)

    @dag(**_arguments("score", stream, schedule), params=score_params())
    def score() -> None:
        @task
        def plan() -> list[dict[str, Any]]:
            """Say which shards have something to score, and from when."""
            from pipeline.steps import Offbeat

            asked = scope(get_current_context())
            with outcomes():
                return Offbeat.open().plan(stream.name, asked["start"], asked["end"])

        @task(map_index_template="shard {{ task.op_kwargs['shard']['shard'] }}")
        def score_shard(shard: dict[str, Any]) -> dict[str, Any]:
            """Score one shard of the entities with the champion."""
            from pipeline.steps import Offbeat

            with outcomes():
                return Offbeat.open().score(stream.name, **shard)

        @task(outlets=[assets.anomalies], trigger_rule="none_failed")
        def flag() -> dict[str, Any]:
            """Turn flags into anomalies, and anomalies into alerts, in one transaction."""
            from pipeline.steps import Offbeat

            context = get_current_context()
            with outcomes():
                summary = Offbeat.open().flag(stream.name, **scope(context), airflow_run=run_name(context))
            return unless_news(context, summary, "opened", "continued", "closed", "alerts")

        @task(outlets=[assets.no_model], trigger_rule="all_skipped")
        def ask_for_a_model() -> None:
            """Wake the training: there was no champion to score with."""

        planned = plan()

        @task(outlets=[assets.anomalies], trigger_rule="none_failed")
        def watch() -> dict[str, Any]:
            """Look at what came for what needs no model, at once and not only when its own DAG runs."""
            if any(scope(get_current_context()).values()):
                raise AirflowSkipException("scoring again: only what is new is watched")
            return _watched(stream)

        score_shard.expand(shard=planned) >> flag() >> watch()
        planned >> ask_for_a_model()

    score()


def watch_dag(stream: Stream, assets: Assets) -> None:
    """Register `watch__<stream>`: the clock, and records nobody scored → anomalies and alerts.

    Silence comes without records, so nothing wakes it but time.
    """

    @dag(**_arguments("watch", stream, every(stream.schedules.watch)))
    def watch() -> None:
        @task(task_id="watch", outlets=[assets.anomalies])
        def look() -> dict[str, Any]:
            """Look for silence, lateness, flat lines and readings outside their limits."""
            return _watched(stream)

        look()

    watch()


def _watched(stream: Stream) -> dict[str, Any]:
    from pipeline.steps import Offbeat

    context = get_current_context()
    with outcomes():
        summary = Offbeat.open().watch(stream.name, airflow_run=run_name(context))
    return unless_news(context, summary, "opened", "closed", "alerts")


def broken_dag(name: str, errors: ConfigErrors) -> None:
    """Register `broken__<name>`, whose only task fails with what is wrong with the file."""
    log.warning("%s is disabled: %s", name, explain(errors.errors))

    @dag(
        **COMMON,
        dag_id=f"broken__{stream_docs.safe(name)}",
        description=f"Disabled: {errors}"[:250],
        doc_md=stream_docs.broken(name, errors),
        schedule=None,
        tags={"offbeat", "offbeat-broken"},
        default_args={"owner": "offbeat"},
    )
    def broken() -> None:
        @task
        def read_the_error(problem: str) -> None:
            """Fail with what has to be mended."""
            raise AirflowFailException(problem)

        read_the_error(explain(errors.errors))

    broken()


def register() -> None:
    """Register every stream's DAGs."""
    project = load_project(Home.find().configs)
    for stream in project.streams.values():
        assets = Assets(stream.name)
        for make in (ingest_dag, train_dag, score_dag, watch_dag):
            make(stream, assets)
    for name, errors in project.broken.items():
        broken_dag(name, errors)


register()
