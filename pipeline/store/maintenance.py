"""Maintenance windows: when nobody is to be told of some entities of a stream.

In: patterns of entities, and from when to when. Out: the windows, and which of them an anomaly began in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

import sqlalchemy as sa

from pipeline.errors import DataError
from pipeline.events import digest
from pipeline.store.database import insert, maintenances, reading, writing


@dataclass(frozen=True, slots=True)
class Window:
    """A maintenance window; `entities` are patterns such as `pump-*`, times are aware, UTC."""

    id: str
    stream: str
    entities: tuple[str, ...]
    start: datetime
    end: datetime
    who: str
    why: str
    at: datetime
    """When it was said."""
    cancelled_by: str | None = None
    cancelled_at: datetime | None = None

    @property
    def over(self) -> datetime:
        """When it ends, or was cancelled."""
        return self.end if self.cancelled_at is None else min(self.end, max(self.cancelled_at, self.start))

    def speaks_of(self, entity: str) -> bool:
        """Tell whether an entity is one of those in maintenance."""
        return any(fnmatchcase(entity, pattern) for pattern in self.entities)


def add(
    engine: sa.Engine,
    stream: str,
    entities: Sequence[str],
    start: datetime,
    end: datetime,
    *,
    who: str,
    why: str,
    now: datetime,
) -> Window:
    """Add a window; return the one that is there if the same was said before and not cancelled."""
    with writing(engine) as connection:
        same = [
            window
            for window in of_stream(connection, stream)
            if (window.entities, window.start, window.end) == (tuple(entities), start, end)
            and window.cancelled_at is None
        ]
        if same:
            return same[0]
        name = digest(stream, *entities, start.isoformat(), end.isoformat(), now.isoformat())
        window = Window(name, stream, tuple(entities), start, end, who, why, now)
        row = {
            "id": name, "stream": stream, "entities": list(entities), "start": start, "end": end,
            "who": who, "why": why, "at": now,
        }  # fmt: skip
        connection.execute(insert(connection, maintenances).values(row))
    return window


def cancel(engine: sa.Engine, name: str, *, who: str, now: datetime) -> Window:
    """End a window now, or keep it from beginning; cancelled twice is cancelled once.

    Raises:
        DataError: there is no such window.
    """
    mine = maintenances.c.id == name
    gone = sa.update(maintenances).where(mine, maintenances.c.cancelled_at.is_(None))
    with writing(engine) as connection:
        connection.execute(gone.values(cancelled_by=who, cancelled_at=now))
        row = connection.execute(sa.select(maintenances).where(mine)).one_or_none()
    if row is None:
        raise DataError(f"no maintenance window {name!r}: `offbeat maintenance list` shows them")
    return _read(row)


def windows(engine: sa.Engine, stream: str) -> list[Window]:
    """Return a stream's windows, cancelled ones included, in order of time."""
    with reading(engine) as connection:
        return of_stream(connection, stream)


def of_stream(connection: sa.Connection, stream: str) -> list[Window]:
    """Return a stream's windows inside a transaction that is under way."""
    query = sa.select(maintenances).where(maintenances.c.stream == stream)
    rows = connection.execute(query.order_by(maintenances.c.start, maintenances.c.id))
    return [_read(row) for row in rows]


def covering(
    known: Iterable[Window], entity: str, start: datetime, end: datetime, grace: timedelta
) -> Window | None:
    """Return the window that an anomaly began in, if it has not outlasted it.

    Windows that follow one another are one. An anomaly that begins up to `grace` before a window begins with
    it: a machine that is switched off for it was last heard from a little earlier.
    """
    mine = [window for window in known if window.speaks_of(entity) and window.over > window.start]
    began = [window for window in mine if window.start - grace <= start < window.over]
    if not began:
        return None
    last = max(window.over for window in began)
    for window in mine:  # in order of their beginnings
        if window.start <= last:
            last = max(last, window.over)
    return began[0] if end < last else None


def _read(row: sa.Row[Any]) -> Window:
    known = dict(row._mapping)
    return Window(**known | {"entities": tuple(known["entities"])})
