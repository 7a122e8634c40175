"""Leases: at most one run of a thing at a time, also when the last one died; and cursors: how far a run got.

In: names. Out: yes or no. A lease is compare-and-set in SQL; one that is not renewed runs out.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from pipeline.store.database import cursors, insert, leases, reading, writing


def acquire(engine: sa.Engine, name: str, owner: str, *, now: datetime, duration: timedelta) -> bool:
    """Take or renew the lease `name`; False while another owner's has not run out."""
    row = {"owner": owner, "until": now + duration}
    free = (leases.c.until <= now) | (leases.c.owner == owner)
    with writing(engine) as connection:
        taken = connection.execute(sa.update(leases).where(leases.c.name == name, free).values(row))
        if taken.rowcount:
            return True
        new = insert(connection, leases).values(name=name, **row).on_conflict_do_nothing()
        return connection.execute(new.returning(leases.c.name)).first() is not None


def release(engine: sa.Engine, name: str, owner: str) -> None:
    """Give the lease back, if it is still ours."""
    with writing(engine) as connection:
        connection.execute(sa.delete(leases).where(leases.c.name == name, leases.c.owner == owner))


def holder(engine: sa.Engine, name: str, *, now: datetime) -> str | None:
    """Return who holds the lease now."""
    query = sa.select(leases.c.owner).where(leases.c.name == name, leases.c.until > now)
    with reading(engine) as connection:
        return connection.execute(query).scalar_one_or_none()


def cursor(engine: sa.Engine, stream: str, name: str) -> dict[str, Any]:
    """Return the cursor's value; {} before the first `set_cursor`."""
    query = sa.select(cursors.c.value).where(cursors.c.stream == stream, cursors.c.name == name)
    with reading(engine) as connection:
        return connection.execute(query).scalar_one_or_none() or {}


def cursors_of_all(engine: sa.Engine, prefix: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the cursors whose name begins so, of all streams, by stream and name."""
    query = sa.select(cursors).where(cursors.c.name.startswith(prefix, autoescape=True))
    with reading(engine) as connection:
        return {(row.stream, row.name): row.value for row in connection.execute(query)}


def set_cursor(engine: sa.Engine, stream: str, name: str, value: Mapping[str, Any]) -> None:
    """Set a cursor to a JSON-able value."""
    with writing(engine) as connection:
        put_cursor(connection, stream, name, value)


def put_cursor(connection: sa.Connection, stream: str, name: str, value: Mapping[str, Any]) -> None:
    """Set a cursor inside a transaction that is under way."""
    new = insert(connection, cursors).values(stream=stream, name=name, value=dict(value))
    key = [cursors.c.stream, cursors.c.name]
    connection.execute(new.on_conflict_do_update(index_elements=key, set_={"value": new.excluded.value}))
