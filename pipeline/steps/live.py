"""Live: what the DAGs do on a schedule, in one process, as records come: read, store, score, flag, deliver.

They are the same steps, so that live and scheduled give the same scores, a process can be killed anywhere and
started again, and either may go on where the other was. Memory holds nothing that is not made again from the
store where it is missing.

What waits in the source is stored before any of it is scored, as partitions are read one after another: a
machine whose records come last has not fallen behind. Alerts go out from a thread of their own: no receiver,
however slow, keeps records waiting.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Self

from pipeline import log
from pipeline.errors import NoChampion, OffbeatError, TransientError
from pipeline.sources import Source, open_source
from pipeline.steps.ingest import advance
from pipeline.steps.inspect import tend as tend_tables
from pipeline.steps.memory import LOOKED, Memory

if TYPE_CHECKING:
    from pipeline.steps import Offbeat

BATCH = 20_000  # records stored in one commit
EVERY = 0.5  # seconds from one scoring to the next
BEHIND = 10.0  # seconds after which is scored though more waits in the source
IDLE = 0.05  # seconds to wait where nothing came
COMMIT = 0.2  # seconds from one commit to the next, at least: each costs as much, whatever it holds
COMMITS = 100  # after which the tables are compacted: their open files take memory, and are looked through
DELIVERED, WATCHED, TENDED, TOLD = 10.0, 30.0, 300.0, 60.0
"""Seconds between deliveries of what failed before, looks of the watchdogs, compactions of the tables (a
commit a second makes many small files), and lines in the log."""
SENDING = timedelta(seconds=10)  # that one delivery takes at most
PATIENCE = (1.0, 60.0)
"""Seconds to wait after what may pass: the first time, and at most; doubled each time."""


@dataclass
class _Pace:
    """Says when it is time again: `due` is true once every so many seconds."""

    every: float
    last: float = field(default_factory=time.monotonic)

    def begin(self) -> None:
        """Count from now on."""
        self.last = time.monotonic()

    def wait(self, over: Event) -> None:
        """Wait until it is time, or over."""
        over.wait(max(0.0, self.last + self.every - time.monotonic()))

    def due(self) -> bool:
        now = time.monotonic()
        if now - self.last < self.every:
            return False
        self.last = now
        return True


class _Postman:
    """Delivers in a thread of its own, when it is told that there is something, and now and then."""

    def __init__(self, work: Offbeat) -> None:
        self._work, self._told, self._over = work, Event(), Event()
        self._thread = Thread(target=self._walk, name="deliver", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._told.set()
        self._thread.join(2 * SENDING.total_seconds())

    def tell(self) -> None:
        """Say that there is something to deliver, or see what became of what was."""
        self._told.set()

    def _walk(self) -> None:
        while True:
            self._told.wait(DELIVERED)
            if self._over.is_set():
                return
            self._told.clear()
            with log.quiet():
                try:
                    self._work.deliver(limit=SENDING)
                except OffbeatError as error:  # what is due stays due, and is tried again
                    log.get().error("not delivered", why=str(error))


def live(work: Offbeat, name: str, over: Event) -> dict[str, Any]:
    """Work on stream `name` until `over` is set; return what was done.

    What may pass, such as a broker that is away, is waited for. Raises what somebody has to mend.
    """
    done: Counter[str] = Counter()
    wait = 0.0
    with log.unit("live", stream=name) as line, _Postman(work) as post:
        while not over.is_set():
            received = done["received"]
            try:
                with open_source(work.stream(name), work.home.project) as source:
                    _run(work, name, source, post, over, done)
            except TransientError as error:
                if done["received"] > received:
                    wait = 0.0  # it worked in between
                wait = min(2 * wait, PATIENCE[1]) or PATIENCE[0]
                done["waits"] += 1
                log.get().warning("waiting", stream=name, why=str(error), seconds=wait)
                over.wait(wait)
        line |= done
    return {"stream": name, **line}


def _run(work: Offbeat, name: str, source: Source, post: _Postman, over: Event, done: Counter[str]) -> None:
    """Work until it is over, counting what was done."""
    store = work.observations(work.stream(name))
    state, fresh, memory = store.state(), True, Memory()
    score, behind, look, watch, tend, tell = map(_Pace, (EVERY, BEHIND, LOOKED, WATCHED, TENDED, TOLD))
    commit, small = _Pace(COMMIT), 0
    while not over.is_set():
        commit.wait(over)
        before = state
        state, more = advance(source, store, before, BATCH)
        if state is not before:
            done["received"] += state.totals.received - before.totals.received
            fresh, small = True, small + 1
            commit.begin()
        elif not fresh:
            over.wait(IDLE)
        with log.quiet():
            ready = fresh and (behind.due() if more else score.due())
            told = _score(work, name, memory) if ready or look.due() else None
            if told is not None:
                fresh = False
                behind.begin()
                done["rows"] += told["rows"]
                done["alerts"] += told["alerts"]
            if told and told["alerts"]:
                post.tell()
            if watch.due():
                work.watch(name)
            if tend.due() or small >= COMMITS:
                small = 0
                tend.begin()
                tend_tables(work, name)  # and no more: levels and figures can wait for the daily maintenance
                state = store.state()
        if tell.due():
            log.get().info(
                "live", stream=name, **done, watermark=state.watermark and state.watermark.isoformat()
            )


def _score(work: Offbeat, name: str, memory: Memory) -> dict[str, Any] | None:
    try:
        return work.score_all(name, memory=memory)
    except NoChampion:
        return {"rows": 0, "alerts": 0}  # records are kept until there is one
