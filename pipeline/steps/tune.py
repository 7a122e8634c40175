"""Tune: a stream's history in, better settings for it out, if there are any; and every trial in MLflow.

Killed anywhere, it goes on with the next trial when it is run again: the trials are in a file in the home.
It changes neither the stream's YAML nor its champion.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import log
from pipeline.registry import search_figures
from pipeline.steps.train import history_range, log_inputs
from pipeline.tuning import Plan, Space, Study, Verdict, alone, hold, identity, prepare, verdict

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.config.models import Stream
    from pipeline.models.progress import Epoch
    from pipeline.registry import Run
    from pipeline.tuning import Params, Result, Tried
    from pipeline.workspace import Workspace

Tell = Callable[[dict[str, Any]], None]
PARENT, SPAN = "tune", "span"
"""Facts kept with a study: its MLflow run, and which history all of its trials learn from."""
BEST = 5


def tune(
    work: Workspace, name: str, plan: Plan, *, anew: bool = False, tell: Tell | None = None
) -> dict[str, Any]:
    """Search for settings of stream `name` that find more injected faults; labels are never read.

    Args:
        work: where the stream and its history are.
        name: of the stream.
        plan: how many trials, how long, from which seed. Trials of earlier sessions count, and learn from
            the same history, as long as the stream's settings are the same.
        anew: forget those, and begin again on today's history.
        tell: called as trials begin, go on and end, for people who look on.

    Returns:
        `current` and `best` trials, whether the best is `better`, and the `yaml` to paste.

    Raises:
        NotEnoughData: too little history to learn, or to put faults into.
        Conflict: another process is tuning the stream.
    """
    stream, files = work.stream(name), work.home.tuning
    with log.unit("tune", stream=name) as line, alone(files / f"{name}.lock", name):
        study = Study(files / f"{name}.db", identity(stream, plan.seed))
        for run_id in study.revive(anew=anew):
            work.registry.bury(run_id)
        span, version, history = _history(work, stream, study)
        space = Space.of(stream, history)
        exam = prepare(space, history, plan.seed)
        with work.registry.run(name, "tune", again=study.about.get(PARENT)) as run:
            study.remember(**{PARENT: run.id, SPAN: [moment.isoformat() for moment in span]})
            run.params({"kind": stream.kind, "seed": plan.seed})
            log_inputs(work, stream, run, history, version, span, context="tune")
            with _folder(work, name) as folder:
                hold(study, space, exam, plan, folder, _recorder(work, stream, study, run, plan, tell))
            found = verdict(study)
            _conclude(run, study, space, found)
        line |= {"trials": found.trials, "pruned": found.pruned, "failed": found.failed}
        line |= {"better": found.better, "run_id": run.id}
    ranked = [each.told() for each in found.ranked[:BEST]]
    told = {"current": found.current.told(), "best": ranked, "recommended": found.recommended.number}
    return {"stream": name, **line, "verdict": found.sentence, **told, "yaml": found.yaml(space)}


@contextmanager
def _folder(work: Workspace, name: str) -> Iterator[Path]:
    """Give a folder for the trials' models; what a tuning left there that was killed is cleared away."""
    folder = work.home.work / f"tune-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _history(
    work: Workspace, stream: Stream, study: Study
) -> tuple[tuple[datetime, datetime], int, pa.Table]:
    """Return the time, the Delta version and the records that the study's trials learn from."""
    store = work.observations(stream)
    known = study.about.get(SPAN)
    start, end = (
        map(datetime.fromisoformat, known) if known else history_range(stream, store.state().watermark)
    )
    return (start, end), store.version(), store.read(start, end)


@dataclass(frozen=True)
class _Notes:
    """Writes a trial to its MLflow run, and tells people."""

    run: Run
    tell: Tell
    trial: int
    epochs: int

    @property
    def id(self) -> str:
        return self.run.id

    def epoch(self, epoch: Epoch) -> None:
        self.run.epoch(asdict(epoch))
        self.tell({"trial": self.trial, "epochs": self.epochs, **asdict(epoch)})

    def pruned(self, value: float) -> None:
        self.run.metrics({"glance": value})
        self.run.tags({"offbeat.trial": "pruned"})
        self.tell({"trial": self.trial, "state": "given up after a first look"})

    def result(self, result: Result) -> None:
        figures = {
            name: number for name, number in asdict(result).items() if isinstance(number, (int, float))
        }
        each = {f"fault.{kind}": precision for kind, precision in result.faults.items()}
        self.run.metrics({"value": result.value, **figures, **each})
        self.run.tags({"offbeat.trial": "complete"})
        self.tell({"trial": self.trial, "detection": result.detection, "error": result.error})


def _recorder(
    work: Workspace, stream: Stream, study: Study, parent: Run, plan: Plan, tell: Tell | None
) -> Callable[[int, Params], Any]:
    """Return what opens a nested run for each trial."""

    @contextmanager
    def record(number: int, params: Params) -> Iterator[_Notes]:
        told = tell or (lambda _: None)
        told({"trial": number, "params": params, "ended": len(study.trials), "of": plan.trials})
        tags = {"mlflow.runName": f"trial {number}"}
        with work.registry.run(stream.name, "trial", tags, inside=parent.id) as run:
            run.params(params)
            yield _Notes(run, told, number, stream.model.epochs)

    return record


def _conclude(run: Run, study: Study, space: Space, found: Verdict) -> None:
    """Log the verdict to the parent run: figures, the best settings, all trials."""
    run.metrics({f"now.{name}": number for name, number in _numbers(found.current).items()})
    run.metrics({f"best.{name}": number for name, number in _numbers(found.best).items()})
    best = {f"best.{name}": value for name, value in found.best.params.items()}
    run.tags({**best, "offbeat.trials": found.trials, "offbeat.verdict": found.sentence})
    run.text(found.yaml(space), "recommended.yaml")
    run.text(json.dumps([each.told() for each in found.ranked], indent=2), "trials.json")
    order = sorted(found.ranked, key=lambda each: each.number)
    values, fresh = ([getattr(t.result, name) for t in order] for name in ("value", "fresh"))
    run.figure(search_figures.search([t.number for t in order], values, fresh), "search")
    if shares := study.importances():
        run.figure(search_figures.importances(shares), "importance")


def _numbers(tried: Tried) -> dict[str, float]:
    result = tried.result
    return {
        "value": result.value,
        "detection": result.detection,
        "fresh": result.fresh,
        "error": result.error,
    }
