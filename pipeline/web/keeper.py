"""Keeps what pages show at once: the configs, a glance of each stream, the champions.

In: a way to open the workspace. Out: the newest look at all of it. A thread goes round and rests ten times as
long, two minutes at most; what it saw is kept in the home for the next start.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import clock, log
from pipeline.errors import OffbeatError
from pipeline.steps import Offbeat
from pipeline.steps.glances import Glance

if TYPE_CHECKING:
    from pipeline.registry import Version

PAUSE, SHARE, LONGEST = 10.0, 10, 120.0  # seconds between rounds: ten times as long as one took, within these
DAYS_AT_ONCE = 20  # of levels made between two looks at the streams


class Keeper:
    """One for each process that serves the page. Threads may use it at once."""

    def __init__(self, opened: Callable[[], Offbeat]) -> None:
        self._opened = opened
        self._work = opened()
        self._stamp = _stamp(self._work.home.configs)
        self._file = self._work.home.page / "glances.json"
        self.glances: Mapping[str, Glance] = _load(self._file)
        self.champions: Mapping[str, Version] | None = None
        self.seen = ""
        """When the last round ended, ISO 8601; "" before the first."""
        self._wanted: set[str] = set()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.asking = threading.Lock()
        """Held by who asks a model: its sessions use all cores already."""

    @property
    def work(self) -> Offbeat:
        """The workspace as its configs were at the last round."""
        return self._work

    def start(self) -> None:
        """Go round in a thread of this process, if it does not yet: servers fork after importing."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
                self._thread.start()

    def rows(self) -> list[dict[str, Any]]:
        """Return all streams, the worst first."""
        return self.work.overview(self.glances, self.champions)

    def newest(self, stream: str) -> datetime | None:
        """Return the time of a stream's newest record, as it was at the last look."""
        seen = self.glances.get(stream) or self.work.glance(stream, None, clock.now())
        return datetime.fromisoformat(seen.newest) if seen.newest else None

    def want(self, stream: str) -> None:
        """Make the levels of a stream soon: somebody waits for them."""
        self._wanted.add(stream)
        self._wake.set()

    def look(self) -> None:
        """Go round once: configs, champions, every stream."""
        stamp = _stamp(self._work.home.configs)
        if stamp != self._stamp:
            self._work, self._stamp = self._opened(), stamp
        now, found = clock.now(), {}
        for name in list(self._work.project.streams):
            found[name] = self._work.glance(name, self.glances.get(name), now)
        try:
            self.champions = self._work.registry.champions()
        except OffbeatError as error:
            log.get().warning("champions not known", why=str(error))
        changed = found != self.glances
        self.glances, self.seen = found, clock.now().isoformat()
        if changed:
            _save(self._file, found)

    def _run(self) -> None:
        while True:
            began = time.monotonic()
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - the page shows what is known, and looks again
                log.get().error("no look at the streams", why=f"{type(error).__name__}: {error}")
            self._rest(min(max(PAUSE, SHARE * (time.monotonic() - began)), LONGEST))

    def _rest(self, seconds: float) -> None:
        """Wait so long, and make the levels that somebody waits for meanwhile."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._wake.wait(left)
            self._wake.clear()
            for name in list(self._wanted):
                self._make(name)

    def _make(self, name: str) -> None:
        try:
            if not self._work.make_levels(name, most=DAYS_AT_ONCE)["waits"]:
                self._wanted.discard(name)
            else:
                self._wake.set()
        except OffbeatError as error:
            self._wanted.discard(name)
            log.get().warning("no levels", stream=name, why=str(error))


def _stamp(configs: Path) -> tuple[tuple[str, int], ...]:
    files = sorted(configs.rglob("*.y*ml"))
    return tuple((str(path), path.stat().st_mtime_ns) for path in files if path.exists())


def _load(path: Path) -> dict[str, Glance]:
    try:
        return {name: Glance.from_json(data) for name, data in json.loads(path.read_text()).items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}  # none yet, or another Offbeat's: they are made again


def _save(path: Path, glances: Mapping[str, Glance]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, made = tempfile.mkstemp(dir=path.parent, prefix=".")
    with os.fdopen(handle, "w") as file:
        json.dump({name: glance.to_json() for name, glance in glances.items()}, file)
    Path(made).replace(path)
