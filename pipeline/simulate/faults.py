"""What goes wrong at the pump station, and when: six kinds of fault, about two a day.

In: a seed and a day. Out: planned faults, each of which bends the readings of its pump while it lasts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from pipeline.simulate import feed

Floats = NDArray[np.float64]
PRESSURE, FLOW, VIBRATION, TEMPERATURE, POWER = range(5)
Bend = Callable[[Floats, Floats, np.random.Generator], None]
"""Changes readings [n, 5] in place, given how far the fault has come (0 to 1) [n]."""


def bearing_wear(values: Floats, progress: Floats, draw: np.random.Generator) -> None:
    """Vibration and, behind it, temperature climb for hours."""
    values[:, VIBRATION] *= 1 + 1.1 * progress + draw.normal(0, 0.08, len(progress)) * progress
    values[:, TEMPERATURE] += 9 * progress**1.3


def leak(values: Floats, progress: Floats, draw: np.random.Generator) -> None:
    """Pressure falls while flow rises, within a quarter of an hour."""
    depth = np.minimum(1, progress * 12) * draw.uniform(0.8, 1.2)
    values[:, PRESSURE] *= 1 - 0.13 * depth
    values[:, FLOW] *= 1 + 0.12 * depth


def stuck(values: Floats, progress: Floats, draw: np.random.Generator) -> None:
    """The flow meter keeps saying the same while everything around it changes."""
    values[:, FLOW] = values[0, FLOW]


def trip(values: Floats, progress: Floats, draw: np.random.Generator) -> None:
    """The motor stops: no flow, no power, no vibration; the pressure of the pipe alone; slow cooling."""
    values[:, [FLOW, POWER]] = np.abs(draw.normal(0, 0.2, (len(progress), 2)))
    values[:, PRESSURE] = 2.1 + draw.normal(0, 0.02, len(progress))
    values[:, VIBRATION] = 0.1
    values[:, TEMPERATURE] -= 12 * progress


def drift(values: Floats, progress: Floats, draw: np.random.Generator) -> None:
    """The pressure gauge loses its calibration, slowly."""
    values[:, PRESSURE] += 0.7 * progress


def cavitation(values: Floats, progress: Floats, draw: np.random.Generator) -> None:
    """Bubbles: bursts of vibration, a flow and a pressure that flutter."""
    burst = 0.4 + 0.6 * (draw.random(len(progress)) < 0.5)
    values[:, VIBRATION] *= 1 + 0.9 * burst
    values[:, FLOW] *= 1 - 0.08 * burst
    values[:, PRESSURE] += draw.normal(0, 0.15, len(progress))


_KINDS: dict[str, tuple[Bend, float, tuple[str, ...]]] = {
    "bearing wear": (bearing_wear, 7, ("vibration", "temperature")),
    "leak": (leak, 3, ("pressure", "flow")),
    "stuck sensor": (stuck, 5, ("flow",)),
    "pump trip": (trip, 0.6, ("flow", "power", "pressure", "vibration")),
    "drift": (drift, 9, ("pressure",)),
    "cavitation": (cavitation, 2, ("vibration", "flow", "pressure")),
}


@dataclass(frozen=True)
class Planned:
    """A fault that will happen; `start` and `length` in minutes since 1970 and minutes."""

    entity: str
    kind: str
    start: int
    length: int

    def apply(self, values: Floats, minutes: NDArray[np.int64], draw: np.random.Generator) -> None:
        """Bend the readings [T, 5] of the minutes [T] that this fault touches, in place."""
        progress = (minutes - self.start) / self.length
        touched = (progress >= 0) & (progress < 1)
        if touched.any():
            bent = values[touched]
            _KINDS[self.kind][0](bent, progress[touched], draw)
            values[touched] = bent

    def label(self) -> feed.Fault:
        """Return the fault as a label."""
        start = feed.moment(self.start * feed.MINUTE)
        return feed.Fault(
            self.entity, self.kind, start, start + timedelta(minutes=self.length), _KINDS[self.kind][2]
        )


def plan(seed: int, day: date, entities: tuple[str, ...]) -> list[Planned]:
    """Return the faults that touch a day: one begins each morning and one each afternoon.

    Kinds and pumps take turns, so that three days see all six kinds. The standby pump, which idles most of
    the time, is spared. No fault outlasts midnight, so that a day needs no other day to be written.
    """
    draw = feed.rng(seed, "faults", feed.midnight(day) // feed.DAY)
    kinds, healthy = sorted(_KINDS), max(1, len(entities) - 1)
    first = 2 * (feed.midnight(day) // feed.DAY) + seed
    planned = []
    for half, earliest in enumerate((120, 840)):
        kind = kinds[(first + half) % len(kinds)]
        length = int(60 * _KINDS[kind][1] * draw.uniform(0.8, 1.15))
        latest = min(earliest + 240, (half + 1) * 720 - 5 - length) if half else earliest + 240
        start = int(draw.integers(earliest, max(earliest + 1, latest)))
        begin = feed.midnight(day) // feed.MINUTE + start
        planned.append(Planned(entities[(first + half) % healthy], kind, begin, min(length, 1435 - start)))
    return planned
