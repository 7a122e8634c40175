"""Events as anomalies of a table: which of its rows, in its own names, the worst first, in plain words.

In: events on the stream's grid. Out: `Anomaly`s, and sentences about them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import numpy as np
import pyarrow as pa

from pipeline.alerts.text import clean, number
from pipeline.events import Contribution, Event
from pipeline.oneshot.ask import Ask
from pipeline.oneshot.clock import Ints
from pipeline.oneshot.layout import Layout
from pipeline.oneshot.rows import RowScores
from pipeline.scoring import micros

LEAST_SHARE = 0.02
"""Of the error: a channel with less is not worth a word."""


@dataclass(frozen=True)
class Anomaly:
    """One anomaly; rows are numbers of the table's rows, from 0."""

    entity: str
    first: int
    last: int
    peak: int
    rows: int
    """How many rows it flagged."""
    score: float
    """At its worst; 1 is the threshold."""
    severity: str
    channels: tuple[Contribution, ...]
    """Largest share first, under the table's names."""
    id: str | None = None
    """Of the transaction that was worst, where transactions have ids."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """What that transaction's categories were."""


def rank(
    table: pa.Table, ask: Ask, layout: Layout, rows: RowScores, events: Sequence[Event]
) -> list[Anomaly]:
    """Return the table's anomalies, the worst first."""
    time, entity = layout.time[layout.order], layout.entity[layout.order]
    bounds = np.searchsorted(entity, np.arange(len(layout.entities) + 1))
    code = {name: number for number, name in enumerate(layout.entities)}
    found = []
    for event in events:
        begin, end = bounds[code[event.entity]], bounds[code[event.entity] + 1]
        mine = _rows(event, layout.order[begin:end], time[begin:end])
        if len(mine):
            found.append(_named(_anomaly(event, layout, rows, mine), table, ask))
    return sorted(found, key=lambda one: (-one.score, one.first))


def sentence(anomaly: Anomaly, kind: str = "sensor") -> str:
    """Say what was wrong: `flow was 3.2 where 12 was expected; pressure was 7.1 where 5.6 was expected`."""
    leading = [
        channel for place, channel in enumerate(anomaly.channels) if not place or channel.share >= LEAST_SHARE
    ]
    parts = [_part(channel, kind, anomaly.texts) for channel in leading]
    return "; ".join(parts) if parts else "the score rose, and no channel stands out"


def _part(channel: Contribution, kind: str, texts: Mapping[str, str]) -> str:
    name, share = clean(channel.channel, 60), f" ({channel.share:.0%} of the error)"
    if channel.channel in texts:
        return f"{name} {clean(texts[channel.channel], 40)} is unusual{share}"
    if kind == "transaction":
        return _transaction_part(channel, name) + share
    if channel.actual is None or channel.expected is None:
        return f"{name} was out of the ordinary{share}"
    return f"{name} was {_pair(channel.actual, channel.expected)}{share}"


def _transaction_part(channel: Contribution, name: str) -> str:
    actual, expected = channel.actual, channel.expected
    if actual is None or expected is None:
        return "it is the first seen" if name == "pace" else f"an unusual {name}"
    if name == "pace":
        return f"{_hours(actual)} after the one before, where about {_hours(expected)} is usual"
    if name == "time of day":
        return f"at {_clock(actual)}, where about {_clock(expected)} is usual"
    return f"an {name} of {number(actual)}, where about {_guess(expected, actual)} is usual"


def _pair(actual: float, expected: float) -> str:
    return f"{number(actual)} where {_guess(expected, actual)} was expected"


def _guess(expected: float, actual: float) -> str:
    """Write an expectation as exactly as the difference from what came deserves."""
    off = abs(actual - expected)
    if not 0 < off < 1e15:
        return number(expected)
    return number(round(expected, 1 - math.floor(math.log10(off))))


def _hours(hours: float) -> str:
    seconds = hours * 3600
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{float(f'{seconds / size:.2g}'):g} {unit}"
    return f"{seconds:.0f} seconds"


def _clock(hour: float) -> str:
    minutes = round(hour % 24 * 60) % 1440
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def _rows(event: Event, rows: Ints, time: Ints) -> Ints:
    """Return which rows of its entity, in order of time, an event covers."""
    if event.ids:
        return np.array([int(i) for i in event.ids], np.int64)
    first = int(np.searchsorted(time, micros(event.start)))
    last = int(np.searchsorted(time, micros(event.end), side="right"))
    return rows[first:last]


def _anomaly(event: Event, layout: Layout, rows: RowScores, mine: Ints) -> Anomaly:
    peak = _peak(event, layout, rows, mine)
    channels = tuple(replace(c, channel=layout.names[c.channel]) for c in event.channels)
    flagged = int(np.count_nonzero(rows.flag[mine]))
    return Anomaly(
        entity=event.entity,
        first=int(mine[0]),
        last=int(mine[-1]),
        peak=peak,
        rows=flagged,
        score=event.peak_score,
        severity=event.severity,
        channels=channels,
    )


def _named(anomaly: Anomaly, table: pa.Table, ask: Ask) -> Anomaly:
    """Add what the worst transaction was called, and what its categories were."""
    if ask.kind != "transaction":
        return anomaly
    texts = {name: str(table.column(name)[anomaly.peak].as_py()) for name in ask.categories}
    called = None if ask.id is None else str(table.column(ask.id)[anomaly.peak].as_py())
    return replace(anomaly, texts=texts, id=called)


def _peak(event: Event, layout: Layout, rows: RowScores, mine: Ints) -> int:
    near = np.abs(layout.time[mine] - micros(event.peak))
    return int(mine[np.lexsort((-rows.score[mine], near))[0]])


def lasted(anomaly: Anomaly, layout: Layout) -> timedelta:
    """Return how long an anomaly lasted by the stream's clock."""
    return timedelta(microseconds=int(layout.time[anomaly.last] - layout.time[anomaly.first]))
