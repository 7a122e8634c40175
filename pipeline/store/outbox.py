"""The outbox: alerts that were decided on, and how far each has got with each receiver.

In: anomalies, inside the transaction that records them. Out: deliveries, leased to one deliverer at a
time. A lease that runs out (its holder died) is claimable again, under the same key.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from pipeline import log
from pipeline.events import WITHDRAWN, Anomaly, Claimed
from pipeline.incidents import Notice
from pipeline.store.database import batched, deliveries, insert, outbox, reading, writing

_UNSETTLED = ("pending", "leased")


def key_of(anomaly: Anomaly, event: str) -> str:
    """Return the alert's idempotency key; it has no `.`, which Standard Webhooks keeps for itself."""
    again = f"-{anomaly.episode}" if anomaly.episode > 1 else ""
    return f"{anomaly.id}-{event}{again}"


def enqueue_firing(
    connection: sa.Connection, anomaly: Anomaly, receivers: Sequence[str], *, now: datetime
) -> str | None:
    """Put a firing alert in the outbox, for each receiver; after the newest resolve of an episode before.

    Without receivers nothing is: nobody is told, or `pipeline.alerts.notify` is to decide who.
    """
    if not receivers:
        return None
    ends = (outbox.c.anomaly == anomaly.id) & (outbox.c.event == "resolved")
    newest = sa.select(outbox.c.key).where(ends).order_by(outbox.c.created_at.desc(), outbox.c.key.desc())
    after = connection.execute(newest.limit(1)).scalar() if anomaly.episode > 1 else None
    return _enqueue(
        connection,
        key_of(anomaly, "firing"),
        anomaly.id,
        "firing",
        anomaly.to_json(),
        dict.fromkeys(receivers, after),
        now=now,
    )


def enqueue_resolved(connection: sa.Connection, anomaly: Anomaly, *, now: datetime) -> str | None:
    """Put a resolve in the outbox for whoever is sent the firing; None if nobody ever is.

    One that is withdrawn after its end was told gets a second resolve, which says so.
    """
    firing = key_of(anomaly, "firing")
    sent = sa.select(deliveries.c.receiver).where(deliveries.c.key == firing).order_by(deliveries.c.receiver)
    receivers = list(connection.execute(sent).scalars())
    if not receivers:
        return None
    key, after = key_of(anomaly, "resolved"), firing
    told = connection.execute(sa.select(outbox.c.key).where(outbox.c.key == key)).scalar()
    if told and anomaly.ending == WITHDRAWN:
        key, after = f"{key}-{WITHDRAWN}", key
    by = dict.fromkeys(receivers, after)
    return _enqueue(connection, key, anomaly.id, "resolved", anomaly.to_json(), by, now=now)


def enqueue(connection: sa.Connection, notice: Notice, *, now: datetime) -> str:
    """Put a notification in the outbox, for each of its receivers."""
    return _enqueue(
        connection, notice.key, notice.anomaly, notice.event, notice.payload, notice.receivers, now=now
    )


def told_directly(connection: sa.Connection, among: Iterable[Anomaly]) -> dict[tuple[str, int], set[str]]:
    """Return who was told of which episodes in the transactions that recorded them."""
    keys = {key_of(each, "firing"): (each.id, each.episode) for each in among}
    found: dict[tuple[str, int], set[str]] = {}
    for some in batched(keys):
        query = sa.select(deliveries.c.key, deliveries.c.receiver).where(deliveries.c.key.in_(some))
        for key, receiver in connection.execute(query):
            found.setdefault(keys[key], set()).add(receiver)
    return found


def sent_since(connection: sa.Connection, receiver: str, since: datetime) -> int:
    """Return how many firing alerts were enqueued for a receiver after `since`."""
    mine = (deliveries.c.receiver == receiver) & (deliveries.c.created_at > since)
    query = (
        sa.select(sa.func.count())
        .select_from(deliveries.join(outbox))
        .where(mine, outbox.c.event == "firing")
    )
    return int(connection.execute(query).scalar_one())


def _enqueue(
    connection: sa.Connection,
    key: str,
    anomaly: str,
    event: str,
    payload: Mapping[str, Any],
    receivers: Mapping[str, str | None],
    *,
    now: datetime,
) -> str:
    """Put an alert in the outbox, for each receiver; after the key of what it must have had before."""
    row = {"key": key, "anomaly": anomaly, "event": event, "payload": dict(payload), "created_at": now}
    connection.execute(insert(connection, outbox).values(row).on_conflict_do_nothing())
    due = {"key": key, "state": "pending", "attempts": 0, "next_attempt_at": now, "created_at": now}
    for receiver, after in receivers.items():
        row = due | {"receiver": receiver, "after": after}
        connection.execute(insert(connection, deliveries).values(row).on_conflict_do_nothing())
    return key


def history(engine: sa.Engine, anomaly: str) -> list[dict[str, Any]]:
    """Return what was sent about an anomaly, or is to be: a row for each alert and receiver, oldest first."""
    told = ("state", "attempts", "next_attempt_at", "delivered_at", "last_error", "created_at")
    query = (
        sa.select(outbox.c.event, deliveries.c.receiver, *(deliveries.c[name] for name in told))
        .join(deliveries, deliveries.c.key == outbox.c.key)
        .where(outbox.c.anomaly == anomaly)
        .order_by(deliveries.c.created_at, outbox.c.event, deliveries.c.receiver)
    )
    with reading(engine) as connection:
        return [dict(row._mapping) for row in connection.execute(query)]


class Outbox:
    """The outbox as a deliverer uses it."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def waiting(self) -> dict[str, int]:
        """Return how many deliveries each receiver still has to get, due or not."""
        query = (
            sa.select(deliveries.c.receiver, sa.func.count().label("deliveries"))
            .where(deliveries.c.state.in_(_UNSETTLED))
            .group_by(deliveries.c.receiver)
            .order_by(deliveries.c.receiver)
        )
        with reading(self._engine) as connection:
            return {row.receiver: row.deliveries for row in connection.execute(query)}

    def claim(self, receiver: str, *, now: datetime, limit: int, lease: timedelta) -> list[Claimed]:
        """Lease up to `limit` due deliveries to one receiver, the longest due first.

        Nobody else gets them for `lease`. A resolve is not due before its firing is delivered or dead.
        """
        token = uuid.uuid4().hex
        held = {"state": "leased", "lease_owner": token, "lease_until": now + lease}
        with writing(self._engine) as connection:
            rows = connection.execute(_due(receiver, now).limit(limit)).all()
            keys = [row.key for row in rows]
            if keys:
                mine = (deliveries.c.receiver == receiver) & deliveries.c.key.in_(keys)
                connection.execute(sa.update(deliveries).where(mine).values(held))
        return [Claimed(r.key, receiver, r.event, r.payload, r.attempts, r.created_at, token) for r in rows]

    def delivered(self, claimed: Claimed, *, now: datetime) -> None:
        """Note that the receiver has it. True whoever holds the lease by now."""
        done = {"state": "delivered", "delivered_at": now, "last_error": None}
        with writing(self._engine) as connection:
            connection.execute(_settle(claimed, done))

    def failed(self, claimed: Claimed, error: str, *, retry_at: datetime) -> None:
        """Note a failure, and when to try again."""
        again = {
            "state": "pending",
            "attempts": claimed.attempts + 1,
            "next_attempt_at": retry_at,
            "last_error": _safe(error),
        }
        with writing(self._engine) as connection:
            connection.execute(_settle(claimed, again, ours=True))

    def dead(self, claimed: Claimed, error: str, *, now: datetime, tell: Iterable[str] = ()) -> bool:
        """Give up on it, and tell `tell` so with a meta-alert, in one transaction.

        A meta-alert that cannot be delivered raises no other. Returns whether it was ours to give up.
        """
        gone = {"state": "dead", "attempts": claimed.attempts + 1, "last_error": _safe(error)}
        with writing(self._engine) as connection:
            ours = connection.execute(_settle(claimed, gone, ours=True)).rowcount == 1
            others = [r for r in tell if r != claimed.receiver]
            if ours and others and claimed.event != "meta":
                self._enqueue_meta(connection, claimed, _safe(error), others, now)
        return ours

    def postpone(self, receiver: str, *, until: datetime) -> None:
        """Leave a receiver alone until then: nothing pending for it is due before."""
        early = (deliveries.c.receiver == receiver) & (deliveries.c.state == "pending")
        later = sa.update(deliveries).where(early, deliveries.c.next_attempt_at < until)
        with writing(self._engine) as connection:
            connection.execute(later.values(next_attempt_at=until))

    @staticmethod
    def _enqueue_meta(
        connection: sa.Connection, claimed: Claimed, error: str, tell: list[str], now: datetime
    ) -> None:
        payload = {
            "receiver": claimed.receiver,
            "attempts": claimed.attempts + 1,
            "error": error,
            "event": claimed.event,
            "alert": dict(claimed.payload),
        }
        anomaly = sa.select(outbox.c.anomaly).where(outbox.c.key == claimed.key)
        key = f"{claimed.key}-meta-{claimed.receiver}"
        about = connection.execute(anomaly).scalar_one()
        _enqueue(connection, key, about, "meta", payload, dict.fromkeys(tell), now=now)


def _due(receiver: str, now: datetime) -> sa.Select[Any]:
    before = deliveries.alias()
    blocked = sa.exists().where(
        before.c.key == deliveries.c.after,
        before.c.receiver == deliveries.c.receiver,
        before.c.state.in_(_UNSETTLED),
    )
    waiting = (deliveries.c.state == "pending") & (deliveries.c.next_attempt_at <= now)
    abandoned = (deliveries.c.state == "leased") & (deliveries.c.lease_until <= now)
    return (
        sa.select(
            deliveries.c.key, deliveries.c.attempts, outbox.c.event, outbox.c.payload, outbox.c.created_at
        )
        .join(outbox, outbox.c.key == deliveries.c.key)
        .where(deliveries.c.receiver == receiver, waiting | abandoned, ~blocked)
        .order_by(deliveries.c.next_attempt_at, deliveries.c.created_at, deliveries.c.key)
        .with_for_update(of=deliveries, skip_locked=True)
    )


def _settle(claimed: Claimed, values: Mapping[str, Any], *, ours: bool = False) -> sa.Update:
    where = (deliveries.c.key == claimed.key) & (deliveries.c.receiver == claimed.receiver)
    where &= (deliveries.c.lease_owner == claimed.lease) if ours else (deliveries.c.state != "delivered")
    return sa.update(deliveries).where(where).values(lease_owner=None, lease_until=None, **values)


def _safe(error: str) -> str:
    return log.redact(error).replace("\x00", " ")[:500]
