"""What the report draws: entities' scores and signals, thinned so that a page of a million rows stays light.

In: what was found. Out: `Scene`s, and an overview of many entities; arrays that a page can hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.oneshot.anomalies import Anomaly
from pipeline.oneshot.clock import Clock, Ints
from pipeline.oneshot.detect import Found
from pipeline.oneshot.rows import NUMBERS
from pipeline.prepare.columns import floats

SCENES, CHANNELS, OVERVIEW = 8, 4, 24
BUCKETS = 500
CLOSE_UP, AROUND = 2_000, 60
"""Rows of the worst anomalies that are kept whatever the thinning, and how many on either side of each."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Signal:
    """One channel of a scene [T]; NaN where nothing is known."""

    name: str
    actual: Floats
    expected: Floats


@dataclass(frozen=True)
class Scene:
    """One entity: rows to draw [T] of `rows`, in order of time."""

    entity: str
    rows: int
    x: Floats
    """Milliseconds since 1970, or the counter [T]."""
    score: Floats
    signals: tuple[Signal, ...]
    labelled: list[tuple[float, float]]
    """Where labels say that something was wrong."""


@dataclass(frozen=True)
class Overview:
    """The highest scores of entities over time: `score` [E, B], NaN where an entity has no row."""

    entities: list[str]
    x: Floats
    score: Floats


def axis(clock: Clock, rows: Ints) -> Floats:
    """Return where rows lie on the time axis: milliseconds since 1970, or the counter [T]."""
    value = np.asarray(clock.value[rows], np.float64)
    return value * (clock.micros / 1e3) if clock.real else value


def scenes(found: Found, labelled: NDArray[np.bool_] | None) -> list[Scene]:
    """Return the entities with the worst anomalies, the worst first; at least one entity."""
    names = list(dict.fromkeys(anomaly.entity for anomaly in found.anomalies))[:SCENES]
    names = names or [found.layout.entities[int(found.layout.entity[np.argmax(found.rows.score)])]]
    return [_scene(found, name, labelled) for name in names]


def overview(found: Found, buckets: int = 240) -> Overview | None:
    """Return the entities with the highest scores over time; None where there is but one."""
    layout, score = found.layout, found.rows.score
    if len(layout.entities) < 2:
        return None
    highest = np.full(len(layout.entities), -1.0)
    np.maximum.at(highest, layout.entity, score)
    chosen = np.argsort(-highest, kind="stable")[:OVERVIEW]
    place = np.full(len(layout.entities), -1)
    place[chosen] = np.arange(len(chosen))
    x = axis(layout.clock, np.arange(len(score)))
    edges = np.linspace(x.min(), x.max(), buckets + 1)
    bucket = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, buckets - 1)
    kept = place[layout.entity] >= 0
    made = np.full((len(chosen), buckets), -1.0)
    np.maximum.at(made, (place[layout.entity[kept]], bucket[kept]), score[kept])
    middles = (edges[1:] + edges[:-1]) / 2
    return Overview([layout.entities[i] for i in chosen], middles, np.where(made < 0, np.nan, made))


def _scene(found: Found, entity: str, labelled: NDArray[np.bool_] | None) -> Scene:
    layout = found.layout
    code = layout.entities.index(entity)
    begin, end = np.searchsorted(layout.entity[layout.order], [code, code + 1])
    rows = layout.order[begin:end]
    mine = [anomaly for anomaly in found.anomalies if anomaly.entity == entity]
    channels = _leading(found, mine)
    actual = [_actual(found, channel)[rows] for channel in channels]
    kept = _thinned([found.rows.score[rows], *actual], _close_up(rows, mine))
    at = rows[kept]
    signals = tuple(
        Signal(
            layout.names[found.stream.channels[c]],
            values[kept],
            found.rows.expected[at, c].astype(np.float64),
        )
        for c, values in zip(channels, actual, strict=True)
    )
    spans = [] if labelled is None else _spans(labelled[rows], axis(layout.clock, rows))
    return Scene(
        entity, len(rows), axis(layout.clock, at), found.rows.score[at].astype(np.float64), signals, spans
    )


def _leading(found: Found, anomalies: Sequence[Anomaly]) -> list[int]:
    """Return the channels to draw: those that the entity's anomalies are most about."""
    places = {found.layout.names[c]: i for i, c in enumerate(found.stream.channels) if _drawn(found, i)}
    weight: Counter[int] = Counter()
    for rank, anomaly in enumerate(anomalies):
        for channel in anomaly.channels:
            if channel.channel in places:
                weight[places[channel.channel]] += channel.share / (1 + rank)  # type: ignore[assignment]
    chosen = [channel for channel, _ in weight.most_common(CHANNELS)]
    return chosen or list(places.values())[:CHANNELS]


def _drawn(found: Found, channel: int) -> bool:
    """Say whether a channel has numbers to draw: categories have none."""
    return found.ask.kind == "sensor" or channel < NUMBERS


def _actual(found: Found, channel: int) -> Floats:
    if found.ask.kind == "sensor":
        return floats(found.layout.records, found.stream.channels[channel])
    return found.rows.drawn[:, channel].astype(np.float64)


def _thinned(columns: Sequence[NDArray[np.floating]], whole: Ints) -> Ints:
    """Return which rows to draw: of each bucket those where a column is lowest or highest, and `whole`."""
    count = len(columns[0])
    if count <= BUCKETS * 2 * len(columns):
        return np.arange(count)
    edges = np.linspace(0, count, BUCKETS + 1).astype(np.int64)
    bucket = np.repeat(np.arange(BUCKETS), np.diff(edges))
    kept = [whole, np.array([0, count - 1])]
    for number, values in enumerate(columns):
        for sign in (1, -1) if number else (1,):
            key = np.where(np.isfinite(values), sign * values, -np.inf)
            order = np.lexsort((key, bucket))
            kept.append(order[edges[1:] - 1])
    return np.unique(np.concatenate(kept))


def _close_up(rows: Ints, anomalies: Sequence[Anomaly]) -> Ints:
    """Return places, among an entity's rows, in and about its worst anomalies."""
    place = np.full(int(rows.max()) + 1, -1)
    place[rows] = np.arange(len(rows))
    taken: list[Ints] = [np.zeros(0, np.int64)]
    left = CLOSE_UP
    for anomaly in anomalies:
        begin = max(int(place[anomaly.first]) - AROUND, 0)
        end = min(int(place[anomaly.last]) + AROUND + 1, len(rows))
        left -= end - begin
        if left < 0:
            break
        taken.append(np.arange(begin, end))
    return np.concatenate(taken)


def _spans(labelled: NDArray[np.bool_], x: Floats, most: int = 400) -> list[tuple[float, float]]:
    edges = np.diff(np.concatenate([[0], labelled.astype(np.int8), [0]]))
    first, last = np.flatnonzero(edges == 1)[:most], np.flatnonzero(edges == -1)[:most] - 1
    return list(zip(x[first].tolist(), x[last].tolist(), strict=True))
