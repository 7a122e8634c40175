"""How sensors fail: eight kinds of fault, each a function of what was measured.

In: one entity's readings and the rows to bend. Out: new readings for these rows. Sizes are in the channel's
usual spreads. Short, constant and noisy readings are the faults that Sharma, Golubchik and Govindan found in
real deployments ("Sensor faults: detection methods and prevalence in real-world datasets", ACM TOSN 6(3),
2010); shifts, drifts and changed amplitudes are those of a calibration lost; swapped and delayed channels
those of a wiring and a clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Spot:
    """Where a fault strikes: rows `first` to `stop` (exclusive) of an entity, in channels `struck`."""

    values: Floats
    """All readings of the entity [T, C], in own units; never written to."""
    time: NDArray[np.int64]
    """Microseconds UTC [T], rising."""
    spread: Floats
    """Usual spread of each channel [C]."""
    first: int
    stop: int
    struck: tuple[int, ...]
    size: float
    step_us: int
    draw: np.random.Generator

    @property
    def read(self) -> Floats:
        """What was measured there [n, k]."""
        return np.asarray(self.values[self.first : self.stop][:, list(self.struck)])

    @property
    def amount(self) -> Floats:
        """The size in own units, up or down, for each struck channel [k]."""
        sign = self.draw.choice((-1.0, 1.0), len(self.struck))
        return np.asarray(sign * self.size * self.spread[list(self.struck)])

    @property
    def progress(self) -> Floats:
        """How far the fault has come [n, 1]: from 0 to 1, by time."""
        time = self.time[self.first : self.stop]
        whole = max(int(time[-1] - time[0]) + self.step_us, 1)
        return np.asarray((time - time[0] + self.step_us) / whole)[:, None]

    @property
    def cells(self) -> NDArray[np.int64]:
        """The grid step of each row, from 0 [n]."""
        cells = self.time[self.first : self.stop] // self.step_us
        return np.asarray(cells - cells[0])


def spike(at: Spot) -> Floats:
    """A few readings far off."""
    return at.read + at.amount


def level_shift(at: Spot) -> Floats:
    """All readings off by the same."""
    return at.read + at.amount


def drift(at: Spot) -> Floats:
    """Off by more and more."""
    return at.read + at.amount * at.progress


def noise(at: Spot) -> Floats:
    """A loose contact: every grid step is off by another amount."""
    cells = at.cells
    jitter = at.draw.normal(size=(int(cells[-1]) + 1, len(at.struck)))
    return np.asarray(at.read + jitter[cells] * np.abs(at.amount))


def stuck(at: Spot) -> Floats:
    """The sensor keeps saying what it said last."""
    return np.broadcast_to(at.read[:1], at.read.shape).copy()


def amplitude(at: Spot) -> Floats:
    """It moves as it should about its mean, but too little or too much."""
    read = at.read
    middle = np.nanmean(read, axis=0)
    factor = 1 / (1 + at.size) if at.draw.random() < 0.5 else 1 + at.size
    return np.asarray(middle + factor * (read - middle))


def swapped(at: Spot) -> Floats:
    """Channels move as others do: each keeps its level and its spread, but their movements change places."""
    read = at.read
    middle, spread = np.nanmean(read, axis=0), at.spread[list(at.struck)]
    return np.asarray(middle + np.roll((read - middle) / spread, 1, axis=1) * spread)


def delayed(at: Spot) -> Floats:
    """It says what it should have said a while ago: as many grid steps as eight times the size."""
    then = at.time[at.first : at.stop] - int(8 * at.size * at.step_us)
    rows = np.clip(np.searchsorted(at.time, then, side="right") - 1, 0, None)
    return np.asarray(at.values[rows][:, list(at.struck)])


@dataclass(frozen=True)
class Kind:
    """A kind of fault: how readings change, for how many grid steps, how much."""

    bend: Callable[[Spot], Floats]
    steps: tuple[int, int]
    sizes: tuple[float, float]
    """Drawn evenly between their logarithms: small faults are as frequent as large ones."""
    least_channels: int = 1


KINDS = {
    "spike": Kind(spike, (1, 3), (3.0, 12.0)),
    "level shift": Kind(level_shift, (24, 96), (0.5, 3.0)),
    "drift": Kind(drift, (48, 96), (1.0, 4.0)),
    "noise burst": Kind(noise, (16, 48), (0.4, 2.0)),
    "stuck": Kind(stuck, (24, 96), (1.0, 1.0)),
    "amplitude change": Kind(amplitude, (32, 96), (0.5, 3.0)),
    "swapped channels": Kind(swapped, (32, 96), (1.0, 1.0), least_channels=2),
    "delayed channel": Kind(delayed, (32, 96), (1.0, 6.0)),
}
