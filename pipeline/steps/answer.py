"""People answer: what they say of an anomaly, of a fault that was missed, and of work that is planned.

In: names, words and times. Out: rows of the SQL database, and the alerts that an answer causes, in one
transaction. Saying the same again changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from pipeline import clock, log
from pipeline.alerts import links
from pipeline.config.secrets import resolve
from pipeline.errors import DataError, NotFound
from pipeline.events import ANSWERS, SNOOZED, Anomaly, Answer
from pipeline.steps.feedback import watch_precision
from pipeline.steps.notify import at_once, notify
from pipeline.steps.score import FLAGGED
from pipeline.steps.watch import LOOKED
from pipeline.store import anomalies, maintenance
from pipeline.store import answers as said_before
from pipeline.store.leases import cursor
from pipeline.store.lifecycle import storable

if TYPE_CHECKING:
    from pipeline.workspace import Workspace

WHO, WHY = 200, 2000
"""Characters that a name and a reason may have."""
LONGEST_SNOOZE = timedelta(days=365)
LIVE = timedelta(days=1)
"""A stream whose newest records are at most so old lives by the clock; another one is replayed."""


def answer(
    work: Workspace,
    identifier: str,
    what: str,
    *,
    who: str,
    why: str = "",
    until: datetime | None = None,
    nonce: str = "",
) -> dict[str, Any]:
    """Note what `who` says of an anomaly, and return the anomaly as it is now.

    `resolved` and `false_alarm` close it and resolve its alerts; it opens again, as a new episode, when rows
    that came after the answer are flagged. `reopened` takes the answer that stands back.

    Raises:
        DataError: no such anomaly, an answer that is none, nobody who says it, or a snooze that has no end.
    """
    now = clock.now()
    said = Answer(_what(what), _who(who), now, _why(why), _until(what, until, now))
    with log.unit("answer", anomaly=identifier, what=what) as line:
        old = _known(work, identifier)
        stream = work.project.streams.get(old.stream)
        found, news = anomalies.answer(
            work.database,
            identifier,
            said,
            heard=_heard(work, old.stream, now),
            receivers=at_once(work, stream) if stream else (),
            nonce=nonce,
        )
        if stream and news:
            watch_precision(work, stream)
        notify(work)
        line |= {"stream": found.stream, "status": found.status, "news": news}
    return {**found.to_json(), "news": news}


def asked(work: Workspace, token: str) -> dict[str, Any]:
    """Return what a signed link asks for, and the anomaly; changes nothing.

    Keys: `anomaly` (as JSON), `what`, `until` (of a snooze), `receiver`, `spent`.

    Raises:
        DataError: the link is not ours, is too old, or there are no links (alerts.yaml: `links`).
    """
    offer = _offer(work, token)
    until = clock.now() + timedelta(seconds=offer.snooze) if offer.snooze else None
    return _plain({
        "anomaly": _known(work, offer.anomaly).to_json(),
        "what": offer.what,
        "until": until,
        "receiver": offer.receiver,
        "spent": said_before.spent(work.database, offer.nonce),
    })  # fmt: skip


def redeem(work: Workspace, token: str, *, who: str = "", why: str = "") -> dict[str, Any]:
    """Answer by a signed link, which is used up in the same transaction; return what `answer` does.

    Raises:
        DataError: the link is not ours, is too old, or was used before.
    """
    offer = _offer(work, token)
    until = clock.now() + timedelta(seconds=offer.snooze) if offer.snooze else None
    by = f"{who.strip() or offer.receiver or 'somebody'} (link)"  # nobody logged in: it is what they say
    return answer(work, offer.anomaly, offer.what, who=by, why=why, until=until, nonce=offer.nonce)


def _offer(work: Workspace, token: str) -> links.Offer:
    secret = work.project.alerts.links.secret
    if secret is None:
        raise DataError("there are no links that answer: alerts.yaml has no `links: {secret: …}`")
    return links.verify(token, resolve(secret))


def answers(work: Workspace, identifier: str) -> list[dict[str, Any]]:
    """Return what was said of an anomaly, oldest first."""
    _known(work, identifier)
    return [_plain(asdict(said)) for said in said_before.history(work.database, identifier)]


def missed(
    work: Workspace, name: str, entity: str, start: datetime, end: datetime, *, who: str, why: str = ""
) -> dict[str, Any]:
    """Note that a fault of `entity` in [start, end) was not found; later trainings leave it out.

    Returns the note, with how many `scores` there are of that time: 0 where nothing was watched.

    Raises:
        DataError: nothing lies between start and end, or nobody says it.
    """
    stream = work.stream(name)
    _check_range(start, end)
    table = work.scores(stream).read(start, end)
    versions = Counter(table.filter(pc.equal(table["entity"], entity))["version"].to_pylist())
    said = {
        "version": versions.most_common(1)[0][0] if versions else None,
        "who": _who(who), "why": _why(why), "at": clock.now(),
    }  # fmt: skip
    with log.unit("missed", stream=name, entity=entity) as line:
        row = said_before.add_missed(work.database, name, storable(entity), start, end, said)
        line |= {"version": row["version"], "scores": versions.total()}
    return _plain(row) | {"scores": versions.total()}


def maintain(
    work: Workspace,
    name: str,
    entities: Sequence[str],
    start: datetime,
    end: datetime,
    *,
    who: str,
    why: str = "",
) -> dict[str, Any]:
    """Plan maintenance of entities (patterns such as `pump-*`): what begins in [start, end) is silent.

    What outlasts the window is told then. Later trainings leave the window out.

    Raises:
        DataError: no entity is named, nothing lies between start and end, or nobody says it.
    """
    work.stream(name)
    _check_range(start, end)
    patterns = tuple(dict.fromkeys(storable(each.strip()) for each in entities if each.strip()))
    if not patterns:
        raise DataError("name the entities in maintenance: one or more patterns such as pump-7, pump-* or *")
    with log.unit("maintenance", stream=name, entities=list(patterns)) as line:
        window = maintenance.add(
            work.database, name, patterns, start, end, who=_who(who), why=_why(why), now=clock.now()
        )
        line |= {"window": window.id}
    return _plain(asdict(window))


def maintenances(work: Workspace, name: str) -> list[dict[str, Any]]:
    """Return a stream's maintenance windows, cancelled ones included, in order of time."""
    work.stream(name)
    return [_plain(asdict(window)) for window in maintenance.windows(work.database, name)]


def cancel_maintenance(work: Workspace, identifier: str, who: str) -> dict[str, Any]:
    """End a maintenance window now, or keep it from beginning.

    Raises:
        DataError: there is no such window, or nobody says it.
    """
    with log.unit("cancel_maintenance", window=identifier):
        window = maintenance.cancel(work.database, identifier, who=_who(who), now=clock.now())
    return _plain(asdict(window))


def _known(work: Workspace, identifier: str) -> Anomaly:
    if (found := anomalies.get(work.database, identifier)) is None:
        raise NotFound(f"no anomaly {identifier!r}: `offbeat anomalies --json` shows their ids")
    return found


def _heard(work: Workspace, name: str, now: datetime) -> datetime:
    """Return now in a stream's own time: where old data is replayed, how far it has been looked at."""
    seen = [cursor(work.database, name, step).get("until") for step in (FLAGGED, LOOKED)]
    reached = max((datetime.fromisoformat(each) for each in seen if each), default=now)
    return now if now - reached <= LIVE else reached


def _what(what: str) -> str:
    if what not in ANSWERS:
        raise DataError(f"{what!r} is no answer; expected one of {', '.join(ANSWERS)}")
    return what


def _who(who: str) -> str:
    if not who.strip():
        raise DataError("who says so? A name is kept with every answer")
    return _short("who", who, WHO)


def _why(why: str) -> str:
    return _short("why", why, WHY)


def _short(name: str, text: str, most: int) -> str:
    if len(text) > most:
        raise DataError(f"{name} has {len(text)} characters; expected at most {most}")
    return storable(text.strip())


def _until(what: str, until: datetime | None, now: datetime) -> datetime | None:
    if (what == SNOOZED) != (until is not None):
        raise DataError(f"{what}: a snooze has an end (until), and no other answer has one")
    if until is not None and not now < until <= now + LONGEST_SNOOZE:
        raise DataError(f"snoozed until {until.isoformat()}; expected a time within a year from now")
    return until


def _check_range(start: datetime, end: datetime) -> None:
    if not start < end:
        raise DataError(f"nothing lies from {start.isoformat()} to {end.isoformat()}: the end comes first")


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in row.items()}
