"""Faults put into a copy of sensor readings.

In: held-out readings and a seed. Out: copies with named faults; the same seed gives the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.tuning.bends import KINDS, Floats, Spot
from pipeline.tuning.faults import Copy, Fault, Seat, deal

if TYPE_CHECKING:
    from pipeline.config.models import SensorStream

EACH = 24
"""Faults of one kind."""
PLACE = 384
"""Grid steps that one fault has for itself, so that no look still sees the one before it."""
SHORTEST_PLACE = 24
"""Grid steps; an entity with fewer is left as it is."""
MOST_PLACES = 10
"""Of one entity in one copy: older held-out data is left out, which bounds the time a trial takes."""
MOST_ENTITIES = 16
FAINTEST = 0.3
"""Spreads: what changes less, in the mean over the fault, is no fault and is drawn again."""
_TRIES = 20
_FEWEST_VALUES = 5  # of a channel that is measured; others are switches
_USUAL = (0.05, 0.95)
_NORMAL_SPAN = 3.29  # standard deviations between these quantiles of a normal distribution
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class _Machine:
    """One entity's readings [T, C], and those of its rows that are held out."""

    name: str
    rows: NDArray[np.int64]
    """Where they stand in the table."""
    time: NDArray[np.int64]
    values: Floats
    spread: Floats
    """Of each channel; 0 where it does not move, or is a command."""
    since: int

    @property
    def moves(self) -> int:
        """How many channels move."""
        return int((self.spread > 0).sum())

    def places(self, step_us: int) -> int:
        """Return how many faults fit into one copy; 0 if none does, or nothing moves."""
        steps = (int(self.time[-1]) - self.since) // step_us + 1
        fits = steps >= SHORTEST_PLACE and self.moves > 0
        return max(1, steps // PLACE) if fits else 0


def entities(stream: SensorStream, records: pa.Table, since: int, draw: np.random.Generator) -> list[str]:
    """Return the entities that have room for faults, at most sixteen of them."""
    step_us = stream.grid.step // _MICROSECOND
    room = [m.name for m in _machines(stream, records, since) if m.places(step_us)]
    return sorted(draw.permutation(sorted(room))[:MOST_ENTITIES].tolist())


def inject(stream: SensorStream, records: pa.Table, since: int, seed: int) -> list[Copy]:
    """Put faults into copies of `records`, at `since` (microseconds UTC) or later.

    Each fault strikes one entity, and one channel or a few of them: at most a third, or as many as the kind
    needs. Commands, switches and channels that never move are spared.

    Returns:
        Copies, each of all the records; none where no entity has room for a fault.
    """
    step_us = stream.grid.step // _MICROSECOND
    machines = {m.name: m for m in _machines(stream, records, since) if m.places(step_us)}
    most = max((m.moves for m in machines.values()), default=0)
    kinds = [name for name, kind in KINDS.items() if kind.least_channels <= most]
    if not kinds:
        return []
    places = {name: m.places(step_us) for name, m in machines.items()}
    seats = deal(kinds, places, EACH, np.random.default_rng([seed, 0]))
    made: list[Copy] = []
    for copy in range(1 + max(seat.copy for seat in seats)):
        mine = [(number, seat) for number, seat in enumerate(seats) if seat.copy == copy]
        spots = [
            (seat, spot)
            for number, seat in mine
            if (spot := _spot(step_us, machines[seat.entity], seat, np.random.default_rng([seed, 1, number])))
        ]
        made += [_copy(stream, records, machines, spots)] if spots else []
    return made


def usual_spread(values: Floats) -> Floats:
    """Return the spread of each column [N, C], untouched by a few wild values; 0 where nothing moves."""
    known = np.isfinite(values)
    spread = np.zeros(values.shape[1])
    for c in range(values.shape[1]):
        column = values[known[:, c], c]
        if len(np.unique(column)) >= _FEWEST_VALUES:
            low, high = np.quantile(column, _USUAL)
            spread[c] = (high - low) / _NORMAL_SPAN or column.std()
    return spread


def _machines(stream: SensorStream, records: pa.Table, since: int) -> list[_Machine]:
    if not len(records):
        return []
    entity = np.asarray(records["entity"].to_pylist(), dtype=np.str_)
    time = records["time"].cast(pa.int64()).to_numpy()
    values = _values(stream, records)
    order = np.lexsort((time, entity))
    names, begins = np.unique(entity[order], return_index=True)
    commands = np.array([c.role == "command" for c in stream.fields.channels])
    machines = []
    for name, rows in zip(names.tolist(), np.split(order, begins[1:]), strict=True):
        spread = np.where(commands, 0.0, usual_spread(values[rows]))
        machines.append(_Machine(name, rows, time[rows], values[rows], spread, since))
    return machines


def _values(stream: SensorStream, records: pa.Table) -> Floats:
    """Return the channels [N, C], a copy; NaN where missing."""
    columns = [records[name].cast(pa.float64()).to_numpy(zero_copy_only=False) for name in stream.channels]
    return np.stack(columns, axis=1).astype(np.float64)


def _copy(
    stream: SensorStream,
    records: pa.Table,
    machines: dict[str, _Machine],
    spots: list[tuple[Seat, tuple[Spot, Floats]]],
) -> Copy:
    """Return the records with the faults of one copy in them."""
    values, faults = _values(stream, records), []
    for seat, (at, bent) in spots:
        rows = machines[seat.entity].rows[at.first : at.stop]
        values[rows[:, None], list(at.struck)] = bent
        names = tuple(stream.channels[c] for c in at.struck)
        start, stop = (cell * at.step_us for cell in _cells(at))
        faults.append(Fault(seat.kind, seat.entity, start, stop, names, at.size))
    new = {name: pa.array(values[:, c], from_pandas=True) for c, name in enumerate(stream.channels)}
    columns = [new.get(name, records[name]) for name in records.column_names]
    return Copy(pa.table(columns, schema=records.schema), tuple(faults))


def _cells(at: Spot) -> tuple[int, int]:
    """Return the first grid step of a fault, and the first one after it."""
    return int(at.time[at.first]) // at.step_us, int(at.time[at.stop - 1]) // at.step_us + 1


def _spot(
    step_us: int, machine: _Machine, seat: Seat, draw: np.random.Generator
) -> tuple[Spot, Floats] | None:
    """Draw where in its place a fault strikes, until it changes something; None if nothing does."""
    kind, movers = KINDS[seat.kind], np.flatnonzero(machine.spread > 0)
    if machine.moves < kind.least_channels:
        return None
    for _ in range(_TRIES):
        few = max(kind.least_channels, -(-len(movers) // 3))
        struck = draw.choice(movers, draw.integers(kind.least_channels, few + 1), replace=False)
        size = float(np.exp(draw.uniform(*np.log(kind.sizes))))
        first, stop = _rows(machine, seat.place, kind.steps, step_us, draw)
        if stop <= first:
            continue
        at = Spot(
            machine.values, machine.time, machine.spread, first, stop, tuple(struck.tolist()), size,
            step_us, draw,
        )  # fmt: skip
        bent = kind.bend(at)
        if _change(at, bent) >= FAINTEST:
            return at, bent
    return None


def _rows(
    machine: _Machine, place: int, steps: tuple[int, int], step_us: int, draw: np.random.Generator
) -> tuple[int, int]:
    """Draw a span of whole grid steps in the later half of a place; return its rows, perhaps none."""
    first = -(-machine.since // step_us)
    room = min(PLACE, int(machine.time[-1]) // step_us + 1 - first)
    length = min(int(draw.integers(steps[0], steps[1] + 1)), max(1, room // 4))
    begin = first + place * room + int(draw.integers(room // 2, room - length + 1))
    edges = np.searchsorted(machine.time, np.array([begin, begin + length]) * step_us)
    return int(edges[0]), int(edges[1])


def _change(at: Spot, bent: Floats) -> float:
    """Return how much the struck channel that changes least changes, in spreads (root mean square)."""
    off = (bent - at.read) / at.spread[list(at.struck)]
    known = np.isfinite(off)
    if not known.any(axis=0).all():
        return 0.0
    return float(np.sqrt(np.nanmean(np.where(known, off, np.nan) ** 2, axis=0)).min())
