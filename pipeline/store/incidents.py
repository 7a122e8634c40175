"""Incidents: what people were told of which anomalies, and what they have to be told now.

In: a function that decides. Out: its decision, in the tables and in the outbox. What it is shown and what it
decides are one transaction, so that a run which is killed has neither told anybody nor forgotten anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from pipeline.events import Anomaly
from pipeline.incidents import Decision, Episode, Incident, Ledger, Member
from pipeline.store.anomalies import read
from pipeline.store.database import anomalies, batched, incident_members, incidents, insert, writing
from pipeline.store.outbox import enqueue, sent_since, told_directly

_COLUMNS = tuple(f.name for f in fields(Incident) if f.name != "members")
_UNDECIDED = ~anomalies.c.decided & ~anomalies.c.silent


@dataclass(frozen=True, slots=True)
class Told:
    """What a decision came to."""

    alerts: tuple[str, ...] = ()
    """Keys of the notifications that were put in the outbox."""
    receivers: int = 0
    """Deliveries of them."""


def settle(
    engine: sa.Engine,
    decide: Callable[[Ledger], Decision],
    *,
    now: datetime,
    limits: Mapping[str, timedelta],
    mutes: bool,
) -> Told:
    """Show `decide` all that is known, and write what it decides, in one transaction.

    Args:
        engine: the database.
        decide: from what is known to what has to be sent; see `pipeline.alerts.notify`.
        now: the time.
        limits: receivers that take only so much, and the period in which that is counted.
        mutes: whether some anomalies may mute others, so that all open ones have to be known.
    """
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            lock = sa.func.pg_advisory_xact_lock(sa.func.hashtext("offbeat.notify"))
            connection.execute(sa.select(lock))
        if not _anything(connection):
            return Told()
        ledger = _ledger(connection, now, limits, mutes=mutes)
        decision = decide(ledger)
        _write(connection, decision, now)
    return Told(tuple(n.key for n in decision.notices), sum(len(n.receivers) for n in decision.notices))


def _anything(connection: sa.Connection) -> bool:
    """Tell whether there is anything to decide on: mostly there is not."""
    new = sa.select(sa.literal(1)).where(_UNDECIDED)
    still = sa.select(sa.literal(1)).where(incidents.c.closed_at.is_(None))
    return connection.execute(new.union_all(still).limit(1)).first() is not None


def _ledger(
    connection: sa.Connection, now: datetime, limits: Mapping[str, timedelta], *, mutes: bool
) -> Ledger:
    new = {row.id: read(row) for row in connection.execute(sa.select(anomalies).where(_UNDECIDED))}
    still, concerned = _still_open(connection)
    known = new | concerned
    direct = told_directly(connection, new.values())
    seen, told = _history(connection, known)
    for episode, receivers in direct.items():
        told.setdefault(episode, set()).update(receivers)
    return Ledger(
        anomalies=known,
        undecided=frozenset(new),
        incidents=still,
        seen=frozenset(seen),
        told={episode: frozenset(receivers) for episode, receivers in told.items()},
        direct=frozenset(direct),
        alive=_alive(connection, new.values()) if mutes else (),
        recent={name: sent_since(connection, name, now - period) for name, period in limits.items()},
    )


def _still_open(connection: sa.Connection) -> tuple[tuple[Incident, ...], dict[str, Anomaly]]:
    """Return the open incidents, and the anomalies that they still speak of."""
    rows = connection.execute(sa.select(incidents).where(incidents.c.closed_at.is_(None))).all()
    mine = incident_members.join(incidents).join(anomalies, anomalies.c.id == incident_members.c.anomaly)
    speaks = ~incident_members.c.told | (anomalies.c.status == "open")
    query = (
        sa.select(incident_members.c.incident, incident_members.c.episode, incident_members.c.told, anomalies)
        .select_from(mine)
        .where(incidents.c.closed_at.is_(None), speaks)
        .order_by(anomalies.c.start, anomalies.c.id)
    )
    members: dict[str, list[Member]] = {}
    found: dict[str, Anomaly] = {}
    for row in connection.execute(query):
        members.setdefault(row.incident, []).append(Member(row.id, row.episode, row.told))
        found[row.id] = read(row)
    for some in batched({row.worst for row in rows} - found.keys()):
        worst = sa.select(anomalies).where(anomalies.c.id.in_(some))
        found |= {row.id: read(row) for row in connection.execute(worst)}
    return tuple(_incident(row, members.get(row.key, ())) for row in rows), found


def _incident(row: sa.Row[Any], members: Iterable[Member]) -> Incident:
    return Incident(**{name: row._mapping[name] for name in _COLUMNS}, members=tuple(members))


def _history(
    connection: sa.Connection, known: Iterable[str]
) -> tuple[set[tuple[str, Episode]], dict[Episode, set[str]]]:
    """Return which routes told of which episodes, and whom."""
    seen: set[tuple[str, Episode]] = set()
    told: dict[Episode, set[str]] = {}
    for some in batched(known):
        query = (
            sa.select(incident_members, incidents.c.route, incidents.c.told.label("receivers"))
            .select_from(incident_members.join(incidents))
            .where(incident_members.c.anomaly.in_(some))
        )
        for row in connection.execute(query):
            episode = row.anomaly, row.episode
            seen.add((row.route, episode))
            if row.told:
                told.setdefault(episode, set()).update(row.receivers)
    return seen, told


def _alive(connection: sa.Connection, new: Iterable[Anomaly]) -> tuple[Anomaly, ...]:
    """Return what may mute others: what is open, and what was when the first of `new` ended."""
    told = ~anomalies.c.silent & (anomalies.c.status == "open")
    ended = [each.closed_at for each in new if each.closed_at]
    if ended:
        told |= ~anomalies.c.silent & (anomalies.c.closed_at >= min(ended))
    return tuple(read(row) for row in connection.execute(sa.select(anomalies).where(told)))


def _write(connection: sa.Connection, decision: Decision, now: datetime) -> None:
    for incident in decision.incidents:
        _keep(connection, incident)
    for notice in decision.notices:
        enqueue(connection, notice, now=now)
    for each in decision.decided:
        same = (anomalies.c.id == each.id) & (anomalies.c.updated_at == each.updated_at)
        connection.execute(sa.update(anomalies).where(same).values(decided=True))


def _keep(connection: sa.Connection, incident: Incident) -> None:
    row = {name: getattr(incident, name) for name in _COLUMNS}
    row |= {"labels": dict(incident.labels), "told": dict(incident.told)}
    new = insert(connection, incidents).values(row)
    changed = {name: new.excluded[name] for name in _COLUMNS if name != "key"}
    connection.execute(new.on_conflict_do_update(index_elements=[incidents.c.key], set_=changed))
    for member in incident.members:
        key = {"incident": incident.key, "anomaly": member.anomaly, "episode": member.episode}
        joined = insert(connection, incident_members).values(**key, told=member.told)
        connection.execute(
            joined.on_conflict_do_update(
                index_elements=[incident_members.c[name] for name in key], set_={"told": member.told}
            )
        )
