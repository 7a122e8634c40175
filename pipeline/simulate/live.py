"""Goes on writing simulated feeds where their history ends, at the pace of life or faster.

In: a folder that `write_history` filled. Out: today's files growing by a few lines a second, never past now.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from pathlib import Path

from pipeline import clock
from pipeline.simulate.feed import Day, Feed, Labels, moment
from pipeline.simulate.writer import FEEDS, arrived, labels_path, read_labels, save_labels, written_until


class Growing:
    """One feed that grows: knows which day it is writing and how many of its lines are out."""

    def __init__(self, folder: Path, feed: Feed) -> None:
        self.folder, self.feed = folder, feed
        self.target = folder / feed.name
        self.target.mkdir(parents=True, exist_ok=True)
        self._day: date | None = None
        self._content: Day | None = None
        self._out = 0

    def advance(self, until: datetime) -> int:
        """Write what has arrived by `until`, day by day; return how many lines that was."""
        written = 0
        day = self._day or self._first(until)
        while day <= until.date():
            written += self._write(day, until)
            day += timedelta(days=1)
        return written

    def reached(self) -> datetime | None:
        """Return up to when the feed is written; None where nothing is."""
        newest = written_until(self.target)
        if newest is None:
            return None
        content = self._open(newest)
        if self._out >= len(content.lines):
            return _midnight_after(newest)
        return moment(content.arrival[max(0, self._out - 1)])

    def _first(self, until: datetime) -> date:
        """Return the day to go on with: the newest, whose file may have been left half written."""
        return written_until(self.target) or until.date()

    def _write(self, day: date, until: datetime) -> int:
        content = self._content if day == self._day else None
        if content is None:
            content = self._open(day)
        ready = arrived(content, until)
        # Lines that come late for a day still belong in its file, also once the next day has begun.
        ready = len(content.lines) if until.date() > day else ready
        new = content.lines[self._out : ready]
        if new:
            with (self.target / f"{day}.csv").open("a", encoding="utf-8") as file:
                file.write("\n".join(new) + "\n")
        self._out = ready
        return len(new)

    def _open(self, day: date) -> Day:
        content = self.feed.day(day, faults=True)
        path = self.target / f"{day}.csv"
        self._day, self._content = day, content
        if path.with_name(f"{path.name}.gz").exists():
            self._out = len(content.lines)
            return content
        self._out = max(0, path.read_text().count("\n") - 1) if path.exists() else 0
        if not path.exists():
            path.write_text(content.header + "\n")
            self._label(day, content)
        return content

    def _label(self, day: date, content: Day) -> None:
        """Add a day that has begun to the labels."""
        midnight = _midnight_after(day)
        name = self.feed.name
        known = labels_path(self.folder, name).exists()
        old = read_labels(self.folder, name) if known else Labels(name, midnight, midnight)
        grown = replace(
            old,
            end=midnight,
            lines=old.lines + len(content.lines),
            duplicates=old.duplicates + content.duplicates,
            malformed=old.malformed + content.malformed,
            faults=(*old.faults, *content.faults),
        )
        save_labels(self.folder, grown)


def _midnight_after(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), clock_time(), UTC)


def live(
    folder: Path,
    speedup: float = 1.0,
    *,
    seed: int = 7,
    feeds: Sequence[str] = tuple(FEEDS),
    tick: float = 1.0,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Grow the feeds until `stop()`: time starts where the files end and runs `speedup` times as fast.

    It never runs past now, so that no record comes from the future: once it has caught up, it keeps pace.
    """
    growing = [Growing(folder, FEEDS[name](seed)) for name in feeds]
    simulated = min((at for g in growing if (at := g.reached())), default=clock.now())
    while not stop():
        simulated = min(simulated, clock.now())
        for feed in growing:
            feed.advance(simulated)
        time.sleep(tick)
        simulated += timedelta(seconds=tick * speedup)
