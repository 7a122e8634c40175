"""Live: what the DAGs do on a schedule, in one process, as records come: read, store, score, flag, deliver.

They are the same steps, so that live and scheduled give the same scores, a process can be killed anywhere and
started again, and either may go on where the other was. Nothing is kept in memory but a bundle.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Any

from pipeline import log
from pipeline.errors import NoChampion, TransientError
from pipeline.sources import Source, open_source
from pipeline.steps.ingest import advance
from pipeline.steps.memory import Memory

if TYPE_CHECKING:
    from pipeline.steps import Offbeat

BATCH = 20_000  # records stored in one commit
EVERY = 0.5  # seconds from one scoring to the next
IDLE = 0.05  # seconds to wait where nothing came
LOOKED, DELIVERED, WATCHED, TENDED, TOLD = 10.0, 10.0, 30.0, 900.0, 60.0
"""Seconds between looks for a new champion, deliveries of what failed before, looks of the watchdogs,
compactions of the tables (a commit a second makes many small files), and lines in the log."""
PATIENCE = (1.0, 60.0)
"""Seconds to wait after what may pass: the first time, and at most; doubled each time."""


@dataclass
class _Pace:
    """Says when it is time again: `due` is true once every so many seconds."""

    every: float
    last: float = field(default_factory=time.monotonic)

    def due(self) -> bool:
        now = time.monotonic()
        if now - self.last < self.every:
            return False
        self.last = now
        return True


def live(work: Offbeat, name: str, over: Event) -> dict[str, Any]:
    """Work on stream `name` until `over` is set; return what was done.

    What may pass, such as a broker that is away, is waited for. Raises what somebody has to mend.
    """
    done: Counter[str] = Counter()
    wait = 0.0
    with log.unit("live", stream=name) as line:
        while not over.is_set():
            received = done["received"]
            try:
                with open_source(work.stream(name), work.home.project) as source:
                    _run(work, name, source, over, done)
            except TransientError as error:
                if done["received"] > received:
                    wait = 0.0  # it worked in between
                wait = min(2 * wait, PATIENCE[1]) or PATIENCE[0]
                done["waits"] += 1
                log.get().warning("waiting", stream=name, why=str(error), seconds=wait)
                over.wait(wait)
        line |= done
    return {"stream": name, **line}


def _run(work: Offbeat, name: str, source: Source, over: Event, done: Counter[str]) -> None:
    """Work until it is over, counting what was done."""
    store = work.observations(work.stream(name))
    state, fresh, memory = store.state(), True, Memory()
    score, look, deliver, watch, tend, tell = map(_Pace, (EVERY, LOOKED, DELIVERED, WATCHED, TENDED, TOLD))
    while not over.is_set():
        before = state
        state, _ = advance(source, store, before, BATCH)
        if state is not before:
            done["received"] += state.totals.received - before.totals.received
            fresh = True
        elif not fresh:
            over.wait(IDLE)
        with log.quiet():
            told = _score(work, name, memory) if (fresh and score.due()) or look.due() else None
            if told is not None:
                fresh = False
                done["rows"] += told["rows"]
                done["alerts"] += told["alerts"]
            if (told and told["alerts"]) or deliver.due():
                work.deliver()
            if watch.due():
                work.watch(name)
            if tend.due():
                work.maintain(name)
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
