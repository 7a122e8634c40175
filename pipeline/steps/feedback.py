"""What people said of a stream, as later trainings take it, as labels, and in figures.

In: answers, missed faults and maintenance windows of the SQL database. Out: `Feedback` for `learn`, a table
of labels, and for each model version how many of its alerts were right.
"""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline import clock
from pipeline.config.models import SensorStream, TransactionStream
from pipeline.events import (
    CONFIRMED,
    FALSE_ALARM,
    PRECISION,
    RECONSTRUCTION,
    Anomaly,
    Context,
    Contribution,
    Event,
)
from pipeline.prepare import Feedback, Stretch
from pipeline.schemas import TIME
from pipeline.scoring import micros
from pipeline.steps.notify import at_once
from pipeline.store import anomalies, answers, maintenance

if TYPE_CHECKING:
    from pipeline.config.models import Stream
    from pipeline.workspace import Workspace

MOST = 100_000
"""Answered anomalies that are looked at, the latest."""
LATELY, BEFORE, DROP = 20, 180, 0.5
"""Judged alerts that are looked at, those they are compared with, and the share of theirs that is a drop."""
LABELS = pa.schema(
    [("entity", pa.string()), ("start", TIME), ("end", TIME), ("label", pa.int8()), ("who", pa.string())]
)
"""Labels: 1 is a fault, 0 is none; end is exclusive."""
_INSTANT = timedelta(microseconds=1)


def of_stream(work: Workspace, stream: Stream, start: datetime, end: datetime) -> Feedback:
    """Return what people said of the history [start, end) of a stream."""
    first, last = micros(start), micros(end)
    said = [*_verdicts(work, stream, start, end), *_missed(work, stream), *_maintained(work, stream)]
    mine = [each for each in said if each.start < last and each.end > first]
    return Feedback(
        masked=tuple(each for each in mine if each.why != FALSE_ALARM),
        normal=tuple(each for each in mine if each.why == FALSE_ALARM),
        labelled=isinstance(stream, TransactionStream) and stream.fields.label is not None,
    )


def labels(work: Workspace, name: str) -> pa.Table:
    """Return what people said of stream `name` as labels (see `LABELS`), in order of time."""
    stream, judges = work.stream(name), answers.judges(work.database, name)
    rows = [
        {"entity": a.entity, "start": a.start, "end": _over(stream, a), "label": int(a.verdict == CONFIRMED)}
        | {"who": judges[a.id]}
        for a in _answered(work, name)
    ]
    rows += [
        {"entity": m["entity"], "start": m["start"], "end": m["end"], "label": 1, "who": m["who"]}
        for m in answers.all_missed(work.database, name)
    ]
    return pa.Table.from_pylist(sorted(rows, key=lambda r: (r["start"], r["entity"])), LABELS)


@dataclass(frozen=True, slots=True)
class Figures:
    """What people said of the alerts of one model version."""

    confirmed: int = 0
    false_alarm: int = 0
    missed: int = 0

    @property
    def precision(self) -> float | None:
        """Share of the answered alerts that were right."""
        said = self.confirmed + self.false_alarm
        return self.confirmed / said if said else None

    @property
    def recall(self) -> float | None:
        """Share of the faults that people know of that were found."""
        known = self.confirmed + self.missed
        return self.confirmed / known if known else None


def figures(work: Workspace, name: str) -> dict[int, Figures]:
    """Return what people said of each version's alerts; a version that nobody answered is not there."""
    found = answers.judged(work.database, name, RECONSTRUCTION)
    counted = Counter(
        {(version, what): count for (version, what), count in found.items() if version is not None}
    )
    for each in answers.all_missed(work.database, name):
        if each["version"] is not None:
            counted[each["version"], "missed"] += 1
    names = [fact.name for fact in fields(Figures)]
    return {v: Figures(*(counted[v, what] for what in names)) for v in sorted({v for v, _ in counted})}


def publish(work: Workspace, name: str) -> None:
    """Log each version's figures to the MLflow run that trained it, and as tags of the version."""
    for version, found in figures(work, name).items():
        told = asdict(found) | {"precision": found.precision, "recall": found.recall}
        work.registry.tell(name, version, {f"alerts.{what}": value for what, value in told.items()})


def watch_precision(work: Workspace, stream: Stream) -> dict[str, int]:
    """Record an anomaly of kind `precision` while far fewer alerts are right than were before.

    Of the last 20 that people judged, less than half the share of those before them, of which there must be
    20 as well; at most 200 are looked at.
    """
    said = answers.latest_verdicts(work.database, stream.name, RECONSTRUCTION, BEFORE + LATELY)
    before, lately = said[-BEFORE - LATELY : -LATELY], said[-LATELY:]
    if len(before) < LATELY:
        return {}
    was, now = (sum(right for right, _ in part) / len(part) for part in (before, lately))
    found = [_dropped(stream, lately, was, now)] if now < DROP * was else []
    done = anomalies.record(
        work.database,
        stream.name,
        found,
        now=clock.now(),
        receivers=at_once(work, stream),
        context=Context.of(stream),
        ending=lambda old: "" if found or old.kind != PRECISION else "regained",
    )
    return done.counts()


def _dropped(stream: Stream, lately: Sequence[tuple[bool, datetime]], was: float, now: float) -> Event:
    times = [at for _, at in lately]
    part = Contribution("share of alerts that were right", 1.0, was, now)
    return Event(
        stream.name, times[0], times[-1], times[-1], was / max(now, 1 / LATELY), "high", (part,), True,
        kind=PRECISION,
    )  # fmt: skip


def _answered(work: Workspace, name: str, **more: Any) -> list[Anomaly]:
    return anomalies.list_anomalies(work.database, stream=name, judged=True, limit=MOST, **more)


def _verdicts(work: Workspace, stream: Stream, start: datetime, end: datetime) -> Iterator[Stretch]:
    """Yield what was confirmed, and the model's own false alarms: a watchdog's are nothing to learn from.

    A fault is flagged somewhat later than it begins: a window more of it is masked.
    """
    for each in _answered(work, stream.name, since=start, until=end):
        begin, over = micros(each.start), micros(_over(stream, each))
        name = glob.escape(each.entity)
        if each.verdict == CONFIRMED:
            yield Stretch(name, begin - _window(stream), over, CONFIRMED)
        elif each.verdict == FALSE_ALARM and each.kind == RECONSTRUCTION:
            yield Stretch(name, begin, over, FALSE_ALARM)


def _missed(work: Workspace, stream: Stream) -> Iterator[Stretch]:
    for each in answers.all_missed(work.database, stream.name):
        yield Stretch(glob.escape(each["entity"]), micros(each["start"]), micros(each["end"]), "missed")


def _maintained(work: Workspace, stream: Stream) -> Iterator[Stretch]:
    for window in maintenance.windows(work.database, stream.name):
        for pattern in window.entities:
            if window.over > window.start:
                yield Stretch(pattern, micros(window.start), micros(window.over), "maintenance")


def _over(stream: Stream, anomaly: Anomaly) -> datetime:
    """Return when an anomaly is over, exclusive: its `end` is the time of its last row."""
    return anomaly.end + (stream.grid.step if isinstance(stream, SensorStream) else _INSTANT)


def _window(stream: Stream) -> int:
    """Return how long a window of a sensor stream is, in microseconds; 0 for transactions."""
    return stream.window.length * stream.grid.step // _INSTANT if isinstance(stream, SensorStream) else 0
