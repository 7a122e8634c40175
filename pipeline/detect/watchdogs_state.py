"""What the watchdogs remember from look to look, and what they learned, as JSON can hold it.

In: state and habits. Out: plain JSON, and back. All numbers are microseconds, UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np

from pipeline.detect.watchdogs_flatline import Run
from pipeline.detect.watchdogs_habits import Gaps, Runs
from pipeline.detect.watchdogs_late import Lateness
from pipeline.detect.watchdogs_silence import Heard, StreamClock


@dataclass(frozen=True)
class State:
    """What was seen so far: the stream's clock, who was heard of when, the run each channel is in."""

    clock: StreamClock | None = None
    """None before the first look."""
    heard: Mapping[str, Heard] = field(default_factory=dict)
    runs: Mapping[str, Mapping[str, Run]] = field(default_factory=dict)
    """By entity and channel."""
    late: Lateness = field(default_factory=Lateness)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "clock": list(astuple(self.clock)) if self.clock else None,
            "heard": {name: list(astuple(heard)) for name, heard in self.heard.items()},
            "runs": {
                name: {channel: list(astuple(run)) for channel, run in by_channel.items()}
                for name, by_channel in self.runs.items()
            },
            "late": list(astuple(self.late)),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote; {} is the state before the first look."""
        if not data:
            return cls()
        arrivals, began, worst, since, looked = data["late"]
        return cls(
            StreamClock(*data["clock"]) if data["clock"] else None,
            {name: Heard(*heard) for name, heard in data["heard"].items()},
            {name: {c: Run(*run) for c, run in runs.items()} for name, runs in data["runs"].items()},
            Lateness(arrivals, began, tuple((when, age) for when, age in worst), since, looked),
        )


@dataclass(frozen=True, slots=True)
class Habit:
    """What is usual for one entity, learned from `span` (us) of history; None or absent: not known."""

    gaps: Gaps | None = None
    runs: Mapping[str, Runs] = field(default_factory=dict)
    span: int = 0


@dataclass(frozen=True)
class Habits:
    """What is usual for a stream and for each of its entities."""

    stream: Gaps | None = None
    entities: Mapping[str, Habit] = field(default_factory=dict)

    @cached_property
    def typical(self) -> Gaps | None:
        """What is usual for an entity of which nothing is known yet: the median of the others."""
        known = [habit.gaps for habit in self.entities.values() if habit.gaps]
        if not known:
            return None
        return Gaps(int(np.median([g.every for g in known])), int(np.median([g.usual for g in known])))

    def gaps(self, entity: str) -> Gaps | None:
        """Return how often an entity sends."""
        habit = self.entities.get(entity)
        return (habit.gaps if habit else None) or self.typical

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "stream": list(astuple(self.stream)) if self.stream else None,
            "entities": {name: _habit(habit) for name, habit in self.entities.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote; {} is nothing learned."""
        entities = {
            name: Habit(
                Gaps(*gaps) if gaps else None,
                {
                    c: Runs(every, usual, tuple((v, n) for v, n in rests))
                    for c, (every, usual, rests) in runs.items()
                },
                span,
            )
            for name, (gaps, runs, span) in data.get("entities", {}).items()
        }
        return cls(Gaps(*data["stream"]) if data.get("stream") else None, entities)


def _habit(habit: Habit) -> list[Any]:
    runs = {name: [r.every, r.usual, [list(rest) for rest in r.rests]] for name, r in habit.runs.items()}
    return [list(astuple(habit.gaps)) if habit.gaps else None, runs, habit.span]
