"""What people said, kept for good: answers of anomalies, faults that were missed, links that were used.

In: answers, inside the transaction that changes the anomaly. Out: the history, oldest first; rows are only
ever added.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pipeline.errors import DataError
from pipeline.events import CONFIRMED, VERDICTS, Answer, digest
from pipeline.store.database import UtcTime, anomalies, answers, insert, missed, reading, spent_links, writing

OURSELVES = "offbeat"
"""Who it was that took back an answer because the anomaly went on."""


def append(connection: sa.Connection, anomaly: str, said: Answer) -> None:
    """Add an answer to an anomaly's history."""
    row = {"what": said.what, "who": said.who, "why": said.why, "at": said.at, "until": said.until}
    connection.execute(sa.insert(answers).values(anomaly=anomaly, **row))


def latest(connection: sa.Connection, anomaly: str) -> Answer | None:
    """Return the newest answer of an anomaly."""
    query = sa.select(answers).where(answers.c.anomaly == anomaly).order_by(answers.c.number.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return _read(row) if row else None


def history(engine: sa.Engine, anomaly: str) -> list[Answer]:
    """Return what was said of an anomaly, oldest first."""
    query = sa.select(answers).where(answers.c.anomaly == anomaly).order_by(answers.c.number)
    with reading(engine) as connection:
        return [_read(row) for row in connection.execute(query)]


def counts(engine: sa.Engine, stream: str) -> dict[tuple[int | None, str], int]:
    """Return how often each answer was given to what each version found (None: a watchdog), and `missed`."""
    of, what = anomalies.c.version, answers.c.what
    given = sa.select(of, what, sa.func.count()).join(anomalies, anomalies.c.id == answers.c.anomaly)
    given = given.where(anomalies.c.stream == stream, answers.c.who != OURSELVES).group_by(of, what)
    lost = sa.select(missed.c.version, sa.func.count()).where(missed.c.stream == stream)
    with reading(engine) as connection:
        found = {(version, said): count for version, said, count in connection.execute(given)}
        rows = connection.execute(lost.group_by(missed.c.version))
        return found | {(version, "missed"): count for version, count in rows}


def judged(engine: sa.Engine, stream: str, kind: str) -> dict[tuple[int | None, str], int]:
    """Return how many anomalies of a kind have which verdict, by the version that found them."""
    by = (anomalies.c.version, anomalies.c.verdict)
    query = sa.select(*by, sa.func.count()).where(anomalies.c.stream == stream, anomalies.c.kind == kind)
    with reading(engine) as connection:
        rows = connection.execute(query.where(anomalies.c.verdict != "").group_by(*by))
        return {(version, verdict): count for version, verdict, count in rows}


def latest_verdicts(engine: sa.Engine, stream: str, kind: str, most: int) -> list[tuple[bool, datetime]]:
    """Return whether the latest anomalies of a kind with a verdict were right, and when that was said.

    In the order in which it was said, at most so many.
    """
    when = sa.func.coalesce(anomalies.c.answered_at, anomalies.c.updated_at, type_=UtcTime()).label("said")
    query = sa.select(anomalies.c.verdict, when).where(anomalies.c.stream == stream, anomalies.c.kind == kind)
    query = query.where(anomalies.c.verdict != "").order_by(when.desc(), anomalies.c.id).limit(most)
    with reading(engine) as connection:
        return [(row.verdict == CONFIRMED, row.said) for row in connection.execute(query)][::-1]


def judges(engine: sa.Engine, stream: str) -> dict[str, str]:
    """Return who gave each anomaly of a stream its latest verdict."""
    query = sa.select(answers.c.anomaly, answers.c.who).join(anomalies, anomalies.c.id == answers.c.anomaly)
    query = query.where(anomalies.c.stream == stream, answers.c.what.in_(VERDICTS))
    with reading(engine) as connection:
        return {row.anomaly: row.who for row in connection.execute(query.order_by(answers.c.number))}


def spend(connection: sa.Connection, nonce: str, *, now: datetime) -> None:
    """Use a link up.

    Raises:
        DataError: it was used before.
    """
    used = insert(connection, spent_links).values(nonce=nonce, spent_at=now).on_conflict_do_nothing()
    if connection.execute(used.returning(spent_links.c.nonce)).first() is None:
        raise DataError("this link was used already; open the anomaly to answer again")


def spent(engine: sa.Engine, nonce: str) -> bool:
    """Tell whether a link was used."""
    query = sa.select(spent_links.c.nonce).where(spent_links.c.nonce == nonce)
    with reading(engine) as connection:
        return connection.execute(query).first() is not None


def add_missed(
    engine: sa.Engine,
    stream: str,
    entity: str,
    start: datetime,
    end: datetime,
    said: Mapping[str, Any],
) -> dict[str, Any]:
    """Note a fault that nobody was told of; return the row, the one that is there if it was said before.

    Args:
        engine: the database.
        stream: name of the stream.
        entity: where the fault was.
        start: of it.
        end: of it.
        said: `who`, `why`, `at`, and the `version` that scored then.
    """
    name = digest(stream, entity, start.isoformat(), end.isoformat(), said["who"])
    row = {"id": name, "stream": stream, "entity": entity, "start": start, "end": end, **said}
    with writing(engine) as connection:
        connection.execute(insert(connection, missed).values(row).on_conflict_do_nothing())
        kept = connection.execute(sa.select(missed).where(missed.c.id == name)).one()
    return dict(kept._mapping)


def all_missed(engine: sa.Engine, stream: str) -> list[dict[str, Any]]:
    """Return the faults that people said were missed, in order of time."""
    query = sa.select(missed).where(missed.c.stream == stream).order_by(missed.c.start, missed.c.id)
    with reading(engine) as connection:
        return [dict(row._mapping) for row in connection.execute(query)]


def _read(row: sa.Row[Any]) -> Answer:
    return Answer(row.what, row.who, row.at, row.why, row.until)
