"""A pump station: pumps that follow the town's demand by the affinity laws, one reading a minute.

In: a day. Out: pressure (bar), flow (m3/h), vibration (mm/s), temperature (°C) and power (kW) of each pump.
Flow goes with speed, head with its square, power with its cube (https://en.wikipedia.org/wiki/Affinity_laws);
heat follows power with the motor's thermal inertia. One pump stands by, idling, and runs in the peaks only.
"""

from __future__ import annotations

from datetime import date

import numpy as np
from numpy.typing import NDArray

from pipeline.simulate import feed
from pipeline.simulate.faults import Planned, plan

Floats = NDArray[np.float64]
CHANNELS = ("pressure", "flow", "vibration", "temperature", "power")
_DECIMALS = (3, 2, 3, 2, 2)
_NOISE = (0.02, 0.9, 0.05, 0.15, 0.18)  # standard deviations, in each channel's unit
_LEAD = 360  # minutes before midnight, so that the motors' heat carries over


class PumpStation:
    """Five pumps. The same seed and day give the same readings."""

    name = "pump_station"
    header = "time,pump," + ",".join(CHANNELS)

    def __init__(self, seed: int = 7, pumps: int = 5) -> None:
        self.seed, self.pumps = seed, pumps

    @property
    def entities(self) -> tuple[str, ...]:
        """Names of the pumps."""
        return tuple(f"pump-{n + 1}" for n in range(self.pumps))

    def day(self, day: date, *, faults: bool) -> feed.Day:
        """Return a day's lines, with the faults planned for it or without."""
        planned = plan(self.seed, day, self.entities) if faults else []
        minutes = feed.midnight(day) // feed.MINUTE + np.arange(1440)
        times, lines = [], []
        for number, entity in enumerate(self.entities):
            values = self._readings(number, minutes, [p for p in planned if p.entity == entity])
            draw = feed.rng(self.seed, "line", int(minutes[0]), number)
            kept, text = _write(draw, entity, minutes, values)
            times.append(kept)
            lines.extend(text)
        time = np.concatenate(times)
        order = np.argsort(time, kind="stable")
        draw = feed.rng(self.seed, "network", int(minutes[0]))
        begun = [p.label() for p in planned if p.start >= minutes[0]]
        return feed.arrive(draw, time[order], [lines[i] for i in order], self.header, begun)

    def _readings(self, pump: int, minutes: NDArray[np.int64], planned: list[Planned]) -> Floats:
        """Return the day's values of one pump [1440, 5]."""
        values = self.clean(pump, minutes)
        draw = feed.rng(self.seed, "noise", int(minutes[0]), pump)
        values = values + draw.normal(size=values.shape) * _NOISE
        values[:, 2] *= np.exp(draw.normal(0, 0.03, len(minutes)))
        for fault in planned:
            fault.apply(values, minutes, feed.rng(self.seed, fault.kind, fault.start))
        return np.maximum(values, [0, 0, 0.05, -20, 0])

    def clean(self, pump: int, minutes: NDArray[np.int64]) -> Floats:
        """Return a pump's values without noise or faults [T, 5]; continuous from day to day."""
        around = np.arange(minutes[0] - _LEAD, minutes[-1] + 1)
        trait = feed.rng(self.seed, "trait", pump)
        size, wear = trait.uniform(0.9, 1.1), trait.uniform(0.8, 1.25)
        speed = self._speed(pump, around)
        power = 22 * size * speed**3 + 1.5
        heat = _lag(power, minutes=45)
        flow = 130 * size * speed * (1 - 0.06 * _wander(trait, around))
        pressure = 2.1 + 4.2 * speed**2 - 0.9 * (flow / 130) ** 2
        resonance = 0.7 * np.exp(-(((speed - 0.82) / 0.05) ** 2))
        vibration = wear * (0.3 + 1.6 * speed**2 + resonance)
        temperature = _ambient(around) + 1.9 * heat
        return np.column_stack([pressure, flow, vibration, temperature, power])[_LEAD:]

    def _speed(self, pump: int, minutes: NDArray[np.int64]) -> Floats:
        """Return a pump's speed, 0 to 1: the station's demand, and the pump's own slow wandering."""
        demand = demand_at(self.seed, minutes)
        own = _wander(feed.rng(self.seed, "speed", pump), minutes)
        speed = 0.52 + 0.38 * demand + 0.02 * own
        standby = pump == self.pumps - 1 and self.pumps > 1
        return _lag(np.where(demand > 0.55, speed, 0.3), minutes=3) if standby else speed


def demand_at(seed: int, minutes: NDArray[np.int64]) -> Floats:
    """Return the town's demand for water, about 0 to 1: two peaks a day, later and lower at weekends."""
    hour = (minutes % 1440) / 60
    weekend = np.isin((minutes // 1440 + 3) % 7, (5, 6))
    morning = np.exp(-(((hour - np.where(weekend, 9.5, 7.5)) / 2.0) ** 2))
    evening = np.exp(-(((hour - 19.2) / 2.6) ** 2))
    noon = 0.35 * np.exp(-(((hour - 13) / 3.0) ** 2))
    level = 0.15 + np.where(weekend, 0.62, 0.75) * morning + 0.65 * evening + noon
    return level + 0.05 * _wander(feed.rng(seed, "town"), minutes)


def _wander(draw: np.random.Generator, minutes: NDArray[np.int64]) -> Floats:
    """Return a slow, endless, unrepeating swing of about ±1: six waves with periods of 2 to 60 hours."""
    period, phase = draw.uniform(120, 3600, 6), draw.uniform(0, 2 * np.pi, 6)
    waves = np.sin(2 * np.pi * minutes[:, None] / period + phase)
    swing: Floats = waves.sum(axis=1) / np.sqrt(6)
    return swing


def _ambient(minutes: NDArray[np.int64]) -> Floats:
    """Return the pump hall's temperature, °C: warmest at four in the afternoon and in July."""
    day = 2 * np.pi * ((minutes % 1440) / 1440 - 2 / 3)
    year = 2 * np.pi * ((minutes / 1440) % 365.25 / 365.25 - 0.55)
    warmth: Floats = 17 + 2.5 * np.cos(day) + 6 * np.cos(year)
    return warmth


def _lag(values: Floats, *, minutes: float) -> Floats:
    """Follow `values` with a first-order delay: an exponential average over the last eight time constants."""
    weights = np.exp(-np.arange(int(8 * minutes)) / minutes)
    padded = np.concatenate([np.full(len(weights) - 1, values[0]), values])
    return np.convolve(padded, weights / weights.sum(), mode="valid")


def _write(
    draw: np.random.Generator, entity: str, minutes: NDArray[np.int64], values: Floats
) -> tuple[NDArray[np.int64], list[str]]:
    """Write readings as CSV, without those lost to outages, and with single values missing."""
    kept = ~_outages(draw, len(minutes))
    blank = draw.random(values.shape) < 1 / 2500
    columns = [
        np.where(blank[:, i], "", np.char.mod(f"%.{d}f", values[:, i]))[kept] for i, d in enumerate(_DECIMALS)
    ]
    seconds = draw.integers(0, 4, len(minutes))[kept] * 1_000_000
    time = minutes[kept] * feed.MINUTE + seconds
    rows = zip(feed.stamps(time).tolist(), *(c.tolist() for c in columns), strict=True)
    return time, [f"{stamp},{entity},{','.join(row)}" for stamp, *row in rows]


def _outages(draw: np.random.Generator, minutes: int) -> NDArray[np.bool_]:
    """Return which minutes nothing was heard in: single losses, and now and then a quarter of an hour."""
    lost = draw.random(minutes) < 1 / 500
    for _ in range(draw.poisson(0.4)):
        start = draw.integers(minutes)
        lost[start : start + draw.integers(3, 25)] = True
    return lost
