"""Sensors: irregular readings in, one regular, scaled, masked series per entity and segment out.

`fit` learns scaling and season, from training data; `transform` lays out the grid; `expected` undoes scaling.
A channel with a season has two features: as it was measured, and what is left of it without the season.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise
from typing import Any, Self

import numpy as np
import pyarrow as pa

from pipeline.config.models import SensorStream
from pipeline.errors import BundleError, NotEnoughData
from pipeline.prepare import grid, scaling
from pipeline.prepare.scaling import Scaling
from pipeline.prepare.season import Piece, Season, fit_season
from pipeline.prepare.series import Bools, Features, Floats, Ints, Series, Singles, squash

STEPS_FORGIVEN = 3.0
"""A model is forgiven so many steps of a command: it foresees none, and may overshoot. What goes further is
no step of the command."""
OWN_SCALE_FROM = 200
"""Values of a channel in training from which an entity is scaled by its own history."""
SEASON_FROM = 2
"""A season is at least so many windows long; what is shorter the model sees by itself."""
_MICROSECOND = timedelta(microseconds=1)


class SensorPreparer:
    """Puts a sensor stream on its grid and scales it; pure, knows nothing but the stream and its fit."""

    pooled_: Scaling
    own_: dict[str, Scaling]
    step_: Floats
    """Step of each command-like channel in its own unit [C]; 0 where the channel is measured."""
    season_: Season | None
    left_: Scaling
    """Of what is left of the channels with a season, in scaled units."""

    def __init__(self, stream: SensorStream) -> None:
        self.stream = stream

    @property
    def step_us(self) -> int:
        """Length of a grid cell in microseconds."""
        return self.stream.grid.step // _MICROSECOND

    @property
    def reach(self) -> int:
        """Cells after the last reading for which rows exist: as far as a window can still see it."""
        return self.stream.window.length + self.stream.grid.hold

    @property
    def context(self) -> timedelta:
        """Earlier data that the first new row needs to be the same as if everything had been given."""
        return (self.reach + 1) * self.stream.grid.step

    @property
    def embargo(self) -> timedelta:
        """Time left out between training and held-out data: one window."""
        return self.stream.window.length * self.stream.grid.step

    @property
    def window_reach(self) -> timedelta | None:
        """How far back a window may look, apart from its length: sensors have no other limit."""
        return None

    @property
    def features_(self) -> Features:
        """One feature for each channel, and one more for each that has a season."""
        names = self.stream.channels
        every = np.arange(len(names), dtype=np.int32)
        if self.season_ is None:
            return Features(names, every)
        seasonal = self.season_.channels.astype(np.int32)
        left = every.copy()
        left[seasonal] = len(names) + np.arange(len(seasonal))
        named = (*names, *(f"{names[channel]} without season" for channel in seasonal))
        return Features(named, np.concatenate([every, seasonal]), (every, left))

    def fit(self, table: pa.Table, *, until: int | None = None, since: int | None = None) -> Self:
        """Learn scaling and season from complete cells in [since, until) (microseconds UTC).

        Raises:
            NotEnoughData: nothing was measured in them.
        """
        cells = self._observe(table, since, until)
        if not len(cells.cell):
            raise NotEnoughData(f"{self.stream.name}: no reading to learn the scaling from")
        self.pooled_ = scaling.fit_pooled(cells.values)
        self.step_ = np.where(self._commands(cells.values), _span(cells.values), 0.0)
        edges = np.searchsorted(cells.entity, np.arange(len(cells.entities) + 1)).tolist()
        rows = {name: slice(*ends) for name, ends in zip(cells.entities, pairwise(edges), strict=True)}
        self.own_ = {
            name: scaling.fit_own(cells.values[own], self.pooled_, OWN_SCALE_FROM)
            for name, own in rows.items()
            if own.stop - own.start >= OWN_SCALE_FROM
        }
        self._fit_season(
            [(cells.cell[r], self._scaling(name).apply(cells.values[r])) for name, r in rows.items()]
        )
        return self

    def _fit_season(self, scaled: list[tuple[Ints, Floats]]) -> None:
        """Learn from each entity's observed cells [T] and their scaled values [T, C]."""
        measured = self.step_ == 0
        # A command comes when somebody gives it; where there is nothing else, it is what is watched.
        hidden = np.where(measured | ~measured.any(), 0.0, np.nan)
        pieces = [Piece.of(cell, values + hidden) for cell, values in scaled if len(cell)]
        self.season_ = fit_season(pieces, self.step_us, SEASON_FROM * self.stream.window.length)
        if self.season_:
            self.left_ = scaling.fit_pooled(np.concatenate([self._left(*each) for each in scaled]))

    def transform(
        self, table: pa.Table, *, start: int | None = None, until: int | None = None
    ) -> list[Series]:
        """Lay out and scale the table's readings, entity by entity, segment by segment.

        Args:
            table: columns entity, time and channels, in any order; not modified.
            start: cells that begin before this moment (microseconds UTC) are left out.
            until: cells that end after it are left out as not complete yet. Left out, the cell of the
                newest reading of any entity is the last.
        """
        cells = self._observe(table, start, until)
        last = None if until is None else until // self.step_us - 1
        laid = grid.segments(cells, self.stream.grid.hold, self.reach, last)
        return [self._series(segment) for segment in laid]

    def expected(self, series: Series, recon: Floats | Singles) -> Floats:
        """Return reconstructed features [T, F] in the channels' own units [T, C].

        Of a channel with a season, the mean of what its two features make of it.
        """
        made, width = np.asarray(recon, dtype=np.float64), len(self.stream.channels)
        scaled = made[:, :width]
        if self.season_:
            seasonal = self.season_.channels
            whole = self.left_.invert(made[:, width:]) + self.season_.at(series.time // self.step_us)
            scaled = scaled.copy()
            scaled[:, seasonal] = (scaled[:, seasonal] + whole) / 2
        return self._scaling(series.entity).invert(scaled)

    def in_units(self, scaled: Floats) -> Floats:
        """Return lengths [C] in scaled units in the channels' own, as most entities are scaled."""
        return np.asarray(scaled * self.pooled_.scale, dtype=np.float64)

    @property
    def slack_(self) -> Floats:
        """Error per channel [C], in scaled units, that says nothing: somewhat more than a command's step."""
        smallest = np.min([learned.scale for learned in (self.pooled_, *self.own_.values())], axis=0)
        return np.asarray(STEPS_FORGIVEN * self.step_ / smallest, dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Return what was learned and on which grid, as JSON can hold it."""
        own = {name: learned.to_dict() for name, learned in self.own_.items()}
        saved = {**self._about(), "pooled": self.pooled_.to_dict(), "own": own, "step": self.step_.tolist()}
        season = self.season_ and {**self.season_.to_dict(), "left": self.left_.to_dict()}
        return {**saved, "season": season}

    @classmethod
    def from_dict(cls, stream: SensorStream, saved: Mapping[str, Any]) -> Self:
        """Restore a fitted preparer; BundleError if it was fitted for another grid or other channels."""
        preparer = cls(stream)
        for key, value in preparer._about().items():
            if saved.get(key) != value:
                raise BundleError(f"{key} was {saved.get(key)} in training and is now {value}: train again")
        width = len(stream.channels)
        preparer.pooled_ = Scaling.from_dict(saved.get("pooled", {}), width)
        own = saved.get("own")
        if not isinstance(own, Mapping):
            raise BundleError("the scaling of single entities in the bundle is damaged")
        preparer.own_ = {str(name): Scaling.from_dict(learned, width) for name, learned in own.items()}
        preparer.step_ = _steps(saved.get("step"), width)
        season = saved.get("season")
        preparer.season_ = None if season is None else Season.from_dict(season, width)
        if preparer.season_ and season:
            preparer.left_ = Scaling.from_dict(season.get("left", {}), len(preparer.season_.channels))
        return preparer

    def _about(self) -> dict[str, Any]:
        on = self.stream.grid
        return {
            "kind": "sensor",
            "channels": list(self.stream.channels),
            "step_us": self.step_us,
            "aggregate": on.aggregate,
            "hold": on.hold,
        }

    def _commands(self, values: Floats) -> Bools:
        known = ~np.isnan(values)
        high, low = np.where(known, values, -np.inf).max(axis=0), np.where(known, values, np.inf).min(axis=0)
        two = (~known | (values == high) | (values == low)).all(axis=0)
        role = np.array([c.role for c in self.stream.fields.channels])
        return np.asarray((role == "command") | ((role == "auto") & two))

    def _observe(self, table: pa.Table, start: int | None, until: int | None) -> grid.Cells:
        how = self.stream.grid.aggregate
        return grid.observe(table, self.stream.channels, self.step_us, how, start=start, until=until)

    def _scaling(self, entity: str) -> Scaling:
        return self.own_.get(entity, self.pooled_)

    def _series(self, segment: grid.Segment) -> Series:
        scaled, mask = self._scaling(segment.entity).apply(segment.values), ~np.isnan(segment.values)
        if self.season_:
            left = self.left_.apply(self._left(segment.cell, scaled))
            scaled = np.concatenate([scaled, left], axis=1)
            mask = np.concatenate([mask, mask[:, self.season_.channels]], axis=1)
        return Series(segment.entity, segment.cell * self.step_us, squash(scaled), mask, segment.values)

    def _left(self, cell: Ints, scaled: Floats) -> Floats:
        """Return what the season leaves of scaled values [T, C], for the channels that have one [T, S]."""
        assert self.season_ is not None
        return np.asarray(scaled[:, self.season_.channels] - self.season_.at(cell))


def _span(values: Floats) -> Floats:
    """Return how far apart the largest and smallest value of each column [N, C] are; 0 for an empty one."""
    known = ~np.isnan(values)
    high = np.where(known, values, -np.inf).max(axis=0)
    low = np.where(known, values, np.inf).min(axis=0)
    return np.where(known.any(axis=0), high - low, 0.0)


def _steps(saved: Any, width: int) -> Floats:
    try:
        steps = np.asarray(saved, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BundleError("the steps of commands in the bundle are damaged") from error
    if steps.shape != (width,) or not np.isfinite(steps).all() or (steps < 0).any():
        raise BundleError(f"the steps of commands in the bundle are not for {width} columns")
    return steps
