"""The page Airflow shows on each DAG, written from the stream's YAML. In: a stream. Out: Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipeline.config.models import SensorStream
from pipeline.config.scalars import format_duration

if TYPE_CHECKING:
    from pipeline.config.models import Stream
    from pipeline.config.problems import ConfigErrors

_STEPS = {
    "ingest": """
Reads what the source has gained since the last commit into `observations`; what does not parse goes to
`rejects` with the reason. A run with nothing new is *skipped*. Running it again reads nothing twice.""",
    "train": """
Trains an LSTM autoencoder on normal history in a spawned process, calibrates it on held-out data, logs all of
it to MLflow and makes the version `@champion` if it passes the gate; if not, the run is *skipped*. Runs on
time, and when scoring finds no model; as long as there is too little history it is *skipped* then.""",
    "score": """
Scores what is new with `@champion`, shard by shard, and turns flags into anomalies and alerts. Scoring again
changes nothing twice. Without a champion there is nothing to score with, and a training is asked for.

`airflow backfill create --dag-id … --from-date … --to-date … --max-active-runs 1` re-scores past dates, one
interval of the schedule a run, and alerts nobody. A stream whose `schedules.score` is `never` is scored when
records or a model are new, and by hand; it has no intervals to backfill.""",
    "watch": """
Looks for what a model cannot see: a machine that fell silent, a source that is late, a channel that stands
still, a reading outside `low` and `high`. Runs on time, as silence comes without records, and at the end of
each scoring. Needs no model. A run that finds nothing new is *skipped*.""",
}


def safe(name: str) -> str:
    """Return `name` in the letters a DAG id may have."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:200]


def line(step: str, stream: Stream) -> str:
    """Return one line on one of a stream's DAGs."""
    about = stream.description.strip().partition("\n")[0]
    return f"{step.capitalize()} {stream.name}" + (f": {about}" if about else "")


def page(step: str, stream: Stream) -> str:
    """Return the page of one of a stream's DAGs."""
    rows = "\n".join(f"| {name} | {value} |" for name, value in _facts(stream).items())
    table = f"| | |\n| --- | --- |\n{rows}"
    return f"{stream.description.strip()}\n\n{_STEPS[step].strip()}\n\n{table}\n\n{_fields(stream)}\n"


def broken(name: str, errors: ConfigErrors) -> str:
    """Return the page of a stream that is disabled, as its file is wrong."""
    head = f"**{name} is disabled**: `{errors.file}` is wrong. All other streams run."
    rows = [
        f"| {e.line or '–'} | {_cell(e.key)} | {_cell(e.problem)} | {_cell(e.expected)} | {_cell(e.hint)} |"
        for e in errors.errors
    ]
    table = "| line | key | problem | expected | hint |\n| --- | --- | --- | --- | --- |\n" + "\n".join(rows)
    return f"{head}\n\n{table}\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ") or "–"


def _facts(stream: Stream) -> dict[str, str]:
    model, when = stream.model, stream.schedules
    facts = {
        "kind": stream.kind,
        "source": f"`{stream.source.type}`",
        "window": f"{stream.window.length} steps, a score waits for {stream.window.delay}",
        "model": f"{model.architecture}, units {list(model.units)}, latent {model.latent}",
        "false alarms allowed": str(stream.alert.false_alarms),
        "watched": _watched(stream),
        "receivers": ", ".join(stream.alert.receivers) or "nobody",
        "schedules": f"ingest {when.ingest}, train {when.train}, score {when.score}, watch {when.watch}",
        "shards": str(stream.shards),
    }
    if isinstance(stream, SensorStream):
        facts["grid"] = f"{format_duration(stream.grid.step)}, {stream.grid.aggregate}"
    return facts


def _watched(stream: Stream) -> str:
    said = stream.watch.model_dump(mode="json")
    limits = [f"limits of {', '.join(stream.limits)}"] if stream.limits else []
    return ", ".join([*(f"{name} {patience}" for name, patience in said.items()), *limits])


def _fields(stream: Stream) -> str:
    if isinstance(stream, SensorStream):
        rows = [f"| {c.name} | {c.unit or '–'} | `{c.source_column}` |" for c in stream.fields.channels]
        return "| channel | unit | column |\n| --- | --- | --- |\n" + "\n".join(rows)
    fields = stream.fields
    named = {"id": fields.id, "time": fields.time.column, "entity": fields.entity, "amount": fields.amount}
    rows = [f"| {k} | `{v}` |" for k, v in named.items()]
    rows += [f"| category | `{c}` |" for c in fields.categories]
    return "| field | column |\n| --- | --- |\n" + "\n".join(rows)
