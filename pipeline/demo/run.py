"""The demo itself: set the stage, run the DAGs, judge, show.

In: options. Out: an exit code; 0 when every stream went all the way from raw records to a delivered alert.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import services
from pipeline.demo import pictures, show, stage
from pipeline.demo.desk import Desk, open_desk
from pipeline.demo.judge import Verdict, judge
from pipeline.home import Home
from pipeline.store.anomalies import list_anomalies

if TYPE_CHECKING:
    from pipeline.simulate import Labels
    from pipeline.workspace import Workspace

SLACK = {"sensor": timedelta(minutes=10), "transaction": timedelta(0)}
FOLLOWS = 45.0  # seconds a run that an asset starts may take to appear; then it is started by hand
LONGEST = 900.0  # seconds of any one run


@dataclass(frozen=True)
class Options:
    """What to show."""

    data: Path | None = None
    days: int = 21
    seed: int = 7
    pictures: Path | None = None
    """Folder that gets the README's pictures."""


@dataclass
class Story:
    """What happened to one stream."""

    labels: Labels
    ingest: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    verdict: Verdict | None = None
    alerts: int = 0


@dataclass
class Theatre:
    """What a demo needs to go on."""

    home: Home
    running: services.Running
    stories: dict[str, Story]
    say: show.Say
    peak: int = 0
    """Bytes, the most all servers and their tasks used together, of the moments looked at."""


def run(options: Options, home: Home) -> int:
    """Run the demo; return 0 if every stream's faults were found, at least one, and alerts delivered."""
    ours, say = stage.home_of(home, real=options.data is not None), show.Say()
    services.stop(ours)
    stage.clear(ours)
    with say.step("writing the feeds") as done:
        labels = _stage(options, ours, home.configs)
        done(f"{sum(each.lines for each in labels.values()):,} records of {len(labels)} streams")
    with open_desk() as desk, _servers(ours, desk, say, labels) as running:
        theatre = Theatre(ours, running, {name: Story(each) for name, each in labels.items()}, say)
        for name in labels:
            _play(theatre, name)
        _deliver(theatre, desk)
        work = _workspace(ours)
        for name, story in theatre.stories.items():
            _judge(work, name, story, desk)
        show.closing(say, theatre, desk, work)
        if options.pictures:
            pictures.write(options.pictures, say, desk, work)
    return 0 if all(s.verdict and s.verdict.found and s.alerts for s in theatre.stories.values()) else 1


def _stage(options: Options, ours: Home, shipped: Path) -> Mapping[str, Labels]:
    if options.data:
        return stage.real(ours, shipped, options.data.resolve())
    return stage.simulated(ours, shipped, days=options.days, seed=options.seed)


@contextmanager
def _servers(ours: Home, desk: Desk, say: show.Say, streams: Iterable[str]) -> Iterator[services.Running]:
    """Start Airflow and MLflow, and wait for all DAGs; what tasks need to know travels in the environment."""
    where = services.Addresses.choose()
    stage.alerts(ours, where, desk.url)
    os.environ |= {stage.SECRET: desk.secret, "MLFLOW_TRACKING_URI": where.mlflow_url}
    with say.step("starting Airflow and MLflow") as done:
        running = services.start(ours, addresses=where)
        own = [f"{step}__{name}" for name in streams for step in ("ingest", "train", "score")]
        running.wait_for_dags(["deliver_alerts", *own])
        done(f"{where.airflow_url} and {where.mlflow_url}")
    try:
        yield running
    finally:
        stage.alerts(ours, where, None)
        services.stop(ours)


def _play(theatre: Theatre, name: str) -> None:
    """Take one stream from raw records to recorded anomalies. Assets wake scoring after training."""
    story = theatre.stories[name]
    story.ingest = _run(theatre, name, "ingest", f"ingest__{name}", "ingest")
    story.train = _run(theatre, name, "train", f"train__{name}", "train")
    _run(theatre, name, "score", f"score__{name}", "flag", follows=True)


def _run(
    theatre: Theatre, name: str, step: str, dag: str, task: str, *, follows: bool = False
) -> dict[str, Any]:
    airflow, story = theatre.running.airflow, theatre.stories[name]
    with theatre.say.step(f"{name}: {step}") as done:
        run_id = (_followed(theatre, dag) if follows else None) or airflow.trigger(dag)
        result = airflow.wait(dag, run_id, timeout=LONGEST)
        theatre.peak = max(theatre.peak, sum(services.memory(theatre.home).values()))
        answer: dict[str, Any] = airflow.result(dag, run_id, task) or {}
        if not result.ok:
            raise SystemExit(f"{dag} failed: see {result.url} (logs: {theatre.home.root}/airflow/logs)")
        story.seconds[step] = result.seconds
        done(show.line(step, answer))
    return answer


def _followed(theatre: Theatre, dag: str) -> str | None:
    """Return the run that an asset started after training, or None if it did not come in time."""
    since = datetime.now(UTC) - timedelta(seconds=5)
    ends = time.monotonic() + FOLLOWS
    while time.monotonic() < ends:
        for run in theatre.running.airflow.runs(dag):
            queued = datetime.fromisoformat(run["queued_at"]) if run["queued_at"] else since
            if run["run_type"] == "asset_triggered" and queued >= since:
                return str(run["dag_run_id"])
        time.sleep(0.5)
    return None


def _deliver(theatre: Theatre, desk: Desk) -> None:
    with theatre.say.step("delivering alerts") as done:
        airflow = theatre.running.airflow
        result = airflow.wait("deliver_alerts", airflow.trigger("deliver_alerts"), timeout=LONGEST)
        if not result.ok:
            raise SystemExit(f"deliver_alerts failed: see {result.url}")
        done(f"{len(desk.alerts)} arrived at the desk, {desk.repeats} of them twice, signatures checked")


def _workspace(ours: Home) -> Workspace:
    from pipeline.workspace import Workspace

    return Workspace.open(ours)


def _judge(work: Workspace, name: str, story: Story, desk: Desk) -> None:
    stream = work.stream(name)
    found = list_anomalies(work.database, stream=name, limit=100_000)
    slack = max(SLACK[stream.kind], stream.alert.merge if stream.kind == "sensor" else timedelta(0))
    story.verdict = judge(story.labels, found, slack=slack)
    mine = {anomaly.id for anomaly in found}
    story.alerts = sum(1 for alert in desk.alerts.values() if _about(alert) in mine)


def _about(alert: Mapping[str, Any]) -> str:
    return str(alert.get("data", {}).get("anomaly", {}).get("id", ""))
