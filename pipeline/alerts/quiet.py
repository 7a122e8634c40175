"""Keeps what the HTTP and notification libraries log while we send: addresses, and with them secrets.

In: nothing. Out: silence inside `quietly()`, and the last HTTP status that was mentioned in it. The
filters on those libraries' loggers are the room's only global state.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

_TALKATIVE = ("httpx", "apprise", "urllib3.connectionpool", "urllib3.util.retry", "requests")
_STATUS = re.compile(r"\berror=([1-5][0-9]{2})\b")


@dataclass
class Heard:
    """What is kept of what the libraries said."""

    status: str = ""


_listening: ContextVar[Heard | None] = ContextVar("offbeat_quiet", default=None)


def _muffle(record: logging.LogRecord) -> bool:
    heard = _listening.get()
    if heard is None:
        return True
    found = _STATUS.search(record.getMessage())
    heard.status = found[1] if found else heard.status
    return False


@contextmanager
def quietly() -> Iterator[Heard]:
    """Drop what the libraries log in this context, threads and tasks that copy it included."""
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(_muffle)  # once: adding it again does nothing
    heard = Heard()
    token = _listening.set(heard)
    try:
        yield heard
    finally:
        _listening.reset(token)
