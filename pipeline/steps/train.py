"""Train: a stream's history in, a model version in MLflow out, champion if it passes the gate.

Killed anywhere, it leaves at most an MLflow run without a version; the champion keeps scoring.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import clock, log
from pipeline.errors import Conflict, NotEnoughData, OffbeatError
from pipeline.learning import Learned, held_out_error, judge_again, learn
from pipeline.registry import Decision, GateInput, gate
from pipeline.schemas import records
from pipeline.scoring import Scorer, moment
from pipeline.steps import feedback, report
from pipeline.steps.score import TRAINED_UNTIL, champion
from pipeline.store.leases import acquire, release

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.config.models import Stream
    from pipeline.models.progress import Epoch
    from pipeline.prepare import Feedback
    from pipeline.registry import Run, Version
    from pipeline.workspace import Workspace

_INSTANT = timedelta(microseconds=1)
NOT_WORSE = 1.05
"""Times the champion's error that a challenger may have when it alone knows the new alert budget, or what
people have said since."""
FEEDBACK = "offbeat.feedback"
"""Tag of a version: which answers it learned from; empty for none."""
LEASE = timedelta(minutes=15)
"""Renewed with each epoch; a training that died holds its stream no longer than this."""


def train(
    work: Workspace,
    name: str,
    *,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    promote: bool = True,
) -> dict[str, Any]:
    """Train stream `name` on its history, log everything to MLflow, and let the gate decide.

    Raises:
        NotEnoughData: too little history.
        Conflict: another training of the stream is under way.
    """
    stream = work.stream(name)
    with log.unit("train", stream=name) as line, _alone(work, name) as renew, _folder(work) as folder:
        store = work.observations(stream)
        start, end = history_range(stream, store.state().watermark)
        version, history = store.version(), store.read(start, end)
        said = feedback.of_stream(work, stream, start, end)
        feedback.publish(work, name)
        with work.registry.run(name) as run:
            _describe(work, stream, run, history, version, (start, end))
            _describe_feedback(run, said)
            learned = learn(stream, history, folder, on_epoch=_tell(run, renew, on_epoch), feedback=said)
            line |= _results(learned)
            report.log(run, stream, learned)
            number = _log_bundle(stream, run, learned, history, version, end)
            current = work.registry.champion(name)
            data = f"since {learned.since.isoformat()}"
            new = GateInput(number, line["held_out_error"], data, str(stream.alert.false_alarms))
            decision = _judge(work, stream, new, learned, said.records(history), current)
            run.tags({"offbeat.promoted": decision.promote and promote, "offbeat.reason": decision.reason})
        if decision.promote and promote:
            work.registry.promote(name, number, decision.reason, over=current.version if current else None)
        else:
            work.registry.reject(name, number, decision.reason)
        line |= {"version": number, "promoted": decision.promote and promote, "reason": decision.reason}
        line |= {"run_id": run.id, "rows": len(history)}
    return {"stream": name, **line}


@contextmanager
def _alone(work: Workspace, name: str) -> Iterator[Callable[[], None]]:
    """Hold the stream's training lease for the block, which renews it by calling what it is given."""
    owner = uuid.uuid4().hex

    def renew() -> None:
        if not acquire(work.database, f"train/{name}", owner, now=clock.now(), duration=LEASE):
            raise Conflict(f"another training of {name} is under way")

    renew()
    try:
        yield renew
    finally:
        release(work.database, f"train/{name}", owner)


@contextmanager
def _folder(work: Workspace) -> Iterator[Path]:
    work.home.work.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="train-", dir=work.home.work))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def history_range(stream: Stream, watermark: datetime | None) -> tuple[datetime, datetime]:
    """Return the history to learn from: [start, end)."""
    if watermark is None:
        raise NotEnoughData(f"{stream.name} has no observations yet: run `offbeat ingest {stream.name}`")
    end = watermark + _INSTANT
    if stream.training.until:
        said = datetime.fromisoformat(stream.training.until)
        end = min(end, said if said.tzinfo else said.replace(tzinfo=UTC))
    return end - stream.training.history, end


def _describe(
    work: Workspace,
    stream: Stream,
    run: Run,
    history: pa.Table,
    version: int,
    span: tuple[datetime, datetime],
) -> None:
    """Log what goes in: parameters, the config file, the data with its Delta version."""
    settings = stream.model_dump(mode="json", include={"window", "model", "training", "lateness", "grid"})
    run.params({"kind": stream.kind, "false_alarms": str(stream.alert.false_alarms), **settings})
    log_inputs(work, stream, run, history, version, span, context="train")


def _describe_feedback(run: Run, said: Feedback) -> None:
    """Log what people said of the history: how much of each kind, and where."""
    run.params({f"feedback.{why}": count for why, count in said.counts().items()})
    if said:
        stretches = [
            {"entities": s.entities, "start": moment(s.start), "end": moment(s.end), "why": s.why}
            for s in (*said.masked, *said.normal)
        ]
        run.text(json.dumps(stretches, default=str, indent=1), "feedback.json")


def log_inputs(
    work: Workspace,
    stream: Stream,
    run: Run,
    history: pa.Table,
    version: int,
    span: tuple[datetime, datetime],
    *,
    context: str,
) -> None:
    """Log to a run the config file, and the data with its Delta version and time."""
    run.text(work.project.sources[stream.name], "stream.yaml")
    run.dataset(
        history.slice(0, 1000),
        "observations",
        table_uri=work.home.table(stream.name, "observations"),
        delta_version=version,
        start=span[0],
        end=span[1],
        rows=len(history),
        context=context,
    )


def _tell(
    run: Run, renew: Callable[[], None], on_epoch: Callable[[dict[str, Any]], None] | None
) -> Callable[[Epoch], None]:
    def tell(epoch: Epoch) -> None:
        renew()
        run.epoch(asdict(epoch))
        if on_epoch:
            on_epoch(asdict(epoch))

    return tell


def _results(learned: Learned) -> dict[str, Any]:
    own = learned.trained[""]
    return {
        "windows": learned.windows,
        "epochs": own.epochs,
        "loss": own.history["loss"][-1],
        "val_loss": own.val_loss,
        "parameters": own.parameters,
        "feedback_repeats": learned.repeats,
        "feedback_raised": learned.raised,
        "train_seconds": round(sum(t.seconds for t in learned.trained.values()), 2),
        "threshold": learned.detector.threshold_.value,
        "held_out_error": held_out_error(learned.held_out, learned.since),
        "onnx_difference": max(t.onnx_difference for t in learned.trained.values()),
    }


def _log_bundle(
    stream: Stream, run: Run, learned: Learned, history: pa.Table, version: int, end: datetime
) -> int:
    tags = {
        TRAINED_UNTIL: end.isoformat(),
        "offbeat.delta_version": version,
        "offbeat.kind": stream.kind,
        "offbeat.channels": ",".join(stream.channels),
        "offbeat.window": stream.window.length,
        "offbeat.budget": str(stream.alert.false_alarms),
        FEEDBACK: learned.feedback.mark,
    } | {f"offbeat.feedback.{why}": count for why, count in learned.feedback.counts().items()}
    schema = records(stream)
    example = history.select(schema.names).slice(0, 2 * stream.window.length)
    return run.bundle(learned.bundle.folder, schema, example=example, tags=tags)


def _judge(
    work: Workspace,
    stream: Stream,
    new: GateInput,
    learned: Learned,
    history: pa.Table,
    current: Version | None,
) -> Decision:
    """Hold the new version against the champion, on the same held-out rows at the same budget."""
    if current is None:
        return gate(new, None)
    try:
        scorer = Scorer.of(champion(work, stream).bundle, stream)
        old = judge_again(scorer, history, learned.since)
    except OffbeatError as error:  # made for other channels or damaged: it cannot score any longer
        log.get().warning("champion cannot be judged", stream=stream.name, error=str(error))
        return replace(
            gate(new, None), reason=f"champion {current.version} cannot be judged any more: {error}"
        )
    before = current.tags.get("offbeat.budget", new.budget)
    if before != new.budget and new.error <= NOT_WORSE * old:
        return Decision(
            True, f"alert budget is now {new.budget}, was {before}; held-out error {new.error:.6g}"
        )
    news = learned.feedback.mark not in ("", current.tags.get(FEEDBACK))
    if news and new.error <= NOT_WORSE * old:
        return Decision(
            True,
            f"it knows what people said since champion {current.version}; held-out error {new.error:.6g}",
        )
    return gate(new, replace(new, version=current.version, error=old))
