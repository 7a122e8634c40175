"""Many series side by side on one grid, and what is remembered of them: joints as far back as looks reach.

In: strips of new errors, and the lanes that the rows before them left. Out: the new rows judged, all at once,
and the lanes after them. Rows get the numbers that `Detector.score` gives them as part of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.detect.detector import Detector, Errors, Floats, Scored

MOST = 50_000_000  # numbers that are remembered: beyond 400 MB, reading them again is the better choice


@dataclass(frozen=True)
class Strip:
    """Rows of one series without holes: `cell` is the number of the first, errors are [V, T, C]."""

    entity: str
    cell: int
    errors: Errors

    @property
    def stop(self) -> int:
        """Number of the cell after the last row."""
        return self.cell + int(self.errors.shape[1])


@dataclass(frozen=True)
class Lanes:
    """Joints of every entity's rows from cell `begin` on [V + 1, E, K], NaN where there is none.

    They are those of each view, and last what follows from them, their mean over their drift. `starts` [E, K]
    marks rows before which nothing belongs to the same series.
    """

    begin: int
    entities: tuple[str, ...]
    joints: Floats
    starts: NDArray[np.bool_]

    @classmethod
    def empty(cls, views: int, begin: int) -> Lanes:
        """Return lanes of nobody, from cell `begin` on."""
        return cls(begin, (), np.zeros((views + 1, 0, 0)), np.zeros((0, 0), np.bool_))

    @property
    def stop(self) -> int:
        """Number of the cell after the last."""
        return self.begin + int(self.joints.shape[2])

    def reaches(self, cell: int, rows: int) -> bool:
        """Tell whether so many rows before `cell` are known here."""
        return self.begin <= cell - rows and cell <= self.stop

    def before(self, strips: Sequence[Strip], cell: int, rows: int) -> Floats:
        """Return what came before each strip in its series, `rows` cells before `cell` [V + 1, L, rows]."""
        found = np.full((len(self.joints), len(strips), rows), np.nan)
        place = {name: number for number, name in enumerate(self.entities)}
        pairs = [(i, place[s.entity]) for i, s in enumerate(strips) if s.cell < cell and s.entity in place]
        if not pairs:
            return found
        lane, known = np.array(pairs).T
        here = slice(cell - rows - self.begin, cell - self.begin)
        # what follows the last start is of the series that goes on; the start itself too
        later = np.cumsum(self.starts[known, here][:, ::-1], axis=1)[:, ::-1]
        same = (later == 0) | ((later == 1) & self.starts[known, here])
        found[:, lane] = np.where(same, self.joints[:, known, here], np.nan)
        return found

    def after(self, strips: Sequence[Strip], new: Sequence[Floats], cell: int, keep: int) -> Lanes | None:
        """Return the last `keep` cells, with new joints [V + 1, n] of each strip from `cell` on.

        None where that is too much to remember.
        """
        names = tuple(dict.fromkeys([*self.entities, *(s.entity for s in strips)]))
        held, width = cell - self.begin, max([cell, *(s.stop for s in strips)]) - self.begin
        if len(self.joints) * len(names) * width > MOST:
            return None
        place = {name: number for number, name in enumerate(names)}
        joints = np.full((len(self.joints), len(names), width), np.nan)
        starts = np.zeros(joints.shape[1:], np.bool_)
        joints[:, : len(self.entities), :held] = self.joints[:, :, :held]
        starts[: len(self.entities), :held] = self.starts[:, :held]
        for strip, fresh in zip(strips, new, strict=True):
            lane, at = place[strip.entity], max(strip.cell, cell) - self.begin
            joints[:, lane, at : at + fresh.shape[1]] = fresh
            if strip.cell >= cell:
                starts[lane, at] = True
        cut = max(width - keep, 0)
        alive = np.flatnonzero(~np.isnan(joints[:, :, cut:]).all(axis=(0, 2)))
        left = tuple(names[number] for number in alive)
        return Lanes(self.begin + cut, left, joints[:, alive, cut:], starts[alive, cut:])


def judge(
    detector: Detector, strips: Sequence[Strip], cell: int, before: Lanes, keep: int
) -> tuple[list[Scored], Lanes | None]:
    """Judge the rows of all strips from `cell` on; return them strip by strip, and the lanes after them.

    Args:
        detector: fitted.
        strips: new rows, with whatever rows before `cell` they have.
        cell: from which on rows are new, or made anew.
        before: which `reaches` the detector's context before `cell`.
        keep: cells to remember.
    """
    errors = [s.errors[:, max(cell - s.cell, 0) :] for s in strips]
    sizes = [each.shape[1] for each in errors]
    ends = np.cumsum(sizes)
    if not sum(sizes):
        none = [np.zeros((len(before.joints), 0)) for _ in strips]
        return [_nothing(each.shape[2]) for each in errors], before.after(strips, none, cell, keep)
    joints, share = detector.joints(np.concatenate(errors, axis=1))
    laid = np.full((len(joints) + 1, len(strips), max(s.stop for s in strips) - cell), np.nan)
    begins = [max(s.cell - cell, 0) for s in strips]
    spans = [slice(begin, begin + size) for begin, size in zip(begins, sizes, strict=True)]
    for lane, (at, part) in enumerate(zip(spans, np.split(joints, ends[:-1], axis=1), strict=True)):
        laid[:-1, lane, at] = part
    known, memory, reach = (
        before.before(strips, cell, detector.context_rows),
        detector.memory,
        detector.reach_rows,
    )
    lately = np.concatenate([known[:-1, :, reach:], laid[:-1]], axis=2)
    laid[-1] = detector.followed(lately, memory)
    found = detector.judge(np.concatenate([known[-1, :, memory:], laid[-1]], axis=1), share, reach)
    shares = np.split(share, ends[:-1])
    out = [
        Scored(found.score[lane, at], found.raw[lane, at], shares[lane], found.flag[lane, at])
        for lane, at in enumerate(spans)
    ]
    return out, before.after(strips, [laid[:, lane, at] for lane, at in enumerate(spans)], cell, keep)


def remember(detector: Detector, strips: Sequence[Strip], cell: int, keep: int) -> Lanes | None:
    """Return lanes of strips alone, whose rows from `cell` on are whole."""
    joints = (detector.joints(s.errors[:, max(cell - s.cell, 0) :])[0] for s in strips)
    new = [np.concatenate([each, detector.followed(each)[None]]) for each in joints]
    return Lanes.empty(len(detector.scale_), cell).after(strips, new, cell, keep)


def _nothing(channels: int) -> Scored:
    none = np.zeros(0, np.float32)
    return Scored(none, none, np.zeros((0, channels), np.float32), np.zeros(0, np.bool_))
