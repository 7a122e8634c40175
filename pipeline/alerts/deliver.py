"""Delivery: what is due in the outbox goes to its receivers, one thread each, so that none delays another.

In: an outbox, receivers by name, how hard to try. Out: how many were sent, failed and given up.

Order for each alert: 1. lease it, 2. send it, 3. note the outcome. A crash before 2 sends it later, a
crash between 2 and 3 sends it again under the same key. Nothing is noted as sent before it was.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from pipeline import clock, log
from pipeline.alerts.attempt import Answers, Before, Composer, Outcome, Picture, attempt, backoff
from pipeline.alerts.message import About, Receiver
from pipeline.config.receivers import Delivery, Links
from pipeline.events import Claimed

_STREAK = 3  # failures in a row after which a receiver is left alone until the next run


class Outbox(Protocol):
    """What delivery needs of the store's outbox; `pipeline.store.outbox.Outbox` is one."""

    def waiting(self) -> dict[str, int]:
        """Return how many deliveries each receiver still has to get."""

    def claim(self, receiver: str, *, now: datetime, limit: int, lease: timedelta) -> list[Claimed]:
        """Lease due deliveries."""

    def delivered(self, claimed: Claimed, *, now: datetime) -> None:
        """Note a success."""

    def failed(self, claimed: Claimed, error: str, *, retry_at: datetime) -> None:
        """Note a failure, and when to try again."""

    def dead(self, claimed: Claimed, error: str, *, now: datetime, tell: Iterable[str] = ()) -> bool:
        """Give up, and tell others so."""

    def postpone(self, receiver: str, *, until: datetime) -> None:
        """Leave a receiver alone until then."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """What one run of `deliver` did, in deliveries."""

    sent: int = 0
    failed: int = 0
    """To be tried again."""
    dead: int = 0
    """Given up."""
    waiting: int = 0
    """Left in the outbox, due or not."""
    unknown: dict[str, int] = field(default_factory=dict)
    """Of those, how many wait for each name that no receiver has."""
    unfinished: tuple[str, ...] = ()
    """Receivers still busy when the time was up; what they hold comes back when its lease runs out."""


def deliver(
    outbox: Outbox,
    receivers: Mapping[str, Receiver],
    policy: Delivery,
    *,
    links: Links | None = None,
    picture: Picture | None = None,
    about: Mapping[str, About] | None = None,
    answers: Answers | None = None,
    before: Before | None = None,
    now: Callable[[], datetime] = clock.now,
    lease: timedelta | None = None,
    limit: timedelta = timedelta(minutes=5),
) -> Delivered:
    """Send what is due, and what becomes due by that, such as a resolve after its firing.

    Args:
        outbox: what to send.
        receivers: by the names that streams use; a name not here waits, and is said loudly.
        policy: attempts, and the wait between them.
        links: where the links in an alert lead.
        picture: draws an anomaly; its failure costs the picture, never the alert.
        about: what the YAML says of each stream.
        answers: makes the links that an alert is answered by.
        before: says what was like an anomaly before.
        now: the clock.
        lease: how long a delivery is ours; long enough for one `send` when left out.
        limit: how long to go on at most; receivers still busy then are left to end by themselves.

    Raises:
        OffbeatError: the outbox itself failed; what was sent until then is noted.
    """
    compose = Composer(links or Links(), picture, about, answers, before)
    crew = _Crew(outbox, receivers, policy, compose, now, lease)
    ends = time.monotonic() + limit.total_seconds()
    _say_unknown(outbox.waiting(), receivers)
    busy = crew.run(ends)
    while crew.metas and not busy and time.monotonic() < ends:
        crew.metas = 0  # giving up on one receiver gave the others something to say
        busy = crew.run(ends)
    if crew.broken:
        raise crew.broken[0]
    left = outbox.waiting()
    unknown = {name: count for name, count in left.items() if name not in receivers}
    done = crew.done
    return Delivered(done["sent"], done["failed"], done["dead"], sum(left.values()), unknown, tuple(busy))


@dataclass
class _Crew:
    """The threads of one run, and what they share."""

    outbox: Outbox
    receivers: Mapping[str, Receiver]
    policy: Delivery
    compose: Composer
    now: Callable[[], datetime]
    lease: timedelta | None
    done: Counter[str] = field(default_factory=Counter)
    metas: int = 0
    broken: list[Exception] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, ends: float) -> list[str]:
        """Drain every receiver; return those still busy at `ends`."""
        due = [name for name in self.outbox.waiting() if name in self.receivers]
        # Daemons: a receiver that never returns must not keep the process from ending.
        threads = [threading.Thread(target=self._work, args=(n, ends), name=n, daemon=True) for n in due]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(ends - time.monotonic(), 0))
        return [thread.name for thread in threads if thread.is_alive()]

    def _work(self, name: str, ends: float) -> None:
        try:
            self._drain(name, ends)
        except Exception as error:  # noqa: BLE001 - the thread's end; `deliver` raises it
            self.broken.append(error)

    def _drain(self, name: str, ends: float) -> None:
        receiver = self.receivers[name]
        lease = self.lease or receiver.timeout * 2 + timedelta(minutes=1)
        streak, gone = 0, None
        while streak < _STREAK and time.monotonic() < ends:
            claimed = self.outbox.claim(name, now=self.now(), limit=1, lease=lease)
            if not claimed:
                return
            outcome = gone or attempt(receiver, claimed[0], self.compose)
            self._note(claimed[0], outcome)
            gone = outcome if outcome.gone else None
            streak = 0 if outcome.sent or outcome.final else streak + 1
            if outcome.pause:
                return

    def _note(self, claimed: Claimed, outcome: Outcome) -> None:
        now = self.now()
        if outcome.sent:
            self.outbox.delivered(claimed, now=now)
            self._say("sent", claimed, outcome)
        elif outcome.final or claimed.attempts + 1 >= self.policy.attempts:
            told = self.outbox.dead(claimed, outcome.error, now=now, tell=self.receivers)
            self._say("dead", claimed, outcome, metas=int(told))
        else:
            wait = max(backoff(self.policy, claimed.attempts), outcome.pause or timedelta(0))
            self.outbox.failed(claimed, outcome.error, retry_at=now + wait)
            self._say("failed", claimed, outcome)
        if outcome.pause:
            self.outbox.postpone(claimed.receiver, until=now + outcome.pause)

    def _say(self, what: str, claimed: Claimed, outcome: Outcome, metas: int = 0) -> None:
        with self.lock:
            self.done[what] += 1
            self.metas += metas
        known: dict[str, Any] = {"alert": claimed.key, "receiver": claimed.receiver}
        if outcome.error:
            known |= {"error": outcome.error, "attempt": claimed.attempts + 1}
        level = {"sent": "info", "failed": "warning", "dead": "error"}[what]
        getattr(log.get(), level)(f"alert_{what}", **known)


def _say_unknown(waiting: Mapping[str, int], receivers: Mapping[str, Receiver]) -> None:
    for name, count in waiting.items():
        if name not in receivers:
            log.get().error("receiver_unknown", receiver=name, waiting=count, hint="see configs/alerts.yaml")
