"""Structured logging: a chain over one dict, one canonical line per unit of work, no secrets.

`configure()` is the only place with global state. `unit()` wraps a step: what the step learns is
added to the line, which is written once, at the end, with how long it took and how it ended.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

_secrets: set[str] = set()
_SECRET_KEY = re.compile(r"(secret|password|passwd|token|api_?key|authorization|credential)", re.I)
_URL_PASSWORD = re.compile(r"(\w+://[^/\s:@]*:)[^@/\s]+@")
REDACTED = "***"


def hide(value: str) -> None:
    """Remember a secret value so that no log line ever shows it."""
    if len(value) >= 4:
        _secrets.add(value)


def redact(text: str) -> str:
    """Return `text` with every known secret and every password in a URL blanked."""
    for secret in _secrets:
        text = text.replace(secret, REDACTED)
    return _URL_PASSWORD.sub(rf"\1{REDACTED}@", text)


def _redact_value(key: str, value: Any) -> Any:
    if _SECRET_KEY.search(key) and value:
        return REDACTED
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {k: _redact_value(str(k), v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_redact_value(key, v) for v in value]
    return value


def _redact_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {k: _redact_value(k, v) for k, v in event.items()}


def configure(*, json: bool = False, level: int = logging.INFO) -> None:
    """Set up logging for a process: human lines on a terminal, or one JSON object a line."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact_event,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_to_stderr,
        cache_logger_on_first_use=False,
    )


def _to_stderr(*_: Any) -> structlog.WriteLogger:
    """Return what writes to stderr as it is now: whoever replaced it may have closed what it was."""
    return structlog.WriteLogger(sys.stderr)


def get() -> Any:
    """Return the logger."""
    return structlog.get_logger()


_QUIET: ContextVar[bool] = ContextVar("quiet", default=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Log units of work inside at debug, but for those that fail: where they come every second."""
    token = _QUIET.set(True)
    try:
        yield
    finally:
        _QUIET.reset(token)


@contextmanager
def unit(step: str, **known: Any) -> Iterator[dict[str, Any]]:
    """Log one canonical line for a unit of work; add what it learned to the dict it yields."""
    learned: dict[str, Any] = dict(known)
    began = time.perf_counter()
    try:
        yield learned
    except BaseException as error:
        learned |= {"outcome": "failed", "error": f"{type(error).__name__}: {error}"}
        raise
    else:
        learned.setdefault("outcome", "ok")
    finally:
        learned["seconds"] = round(time.perf_counter() - began, 3)
        failed = learned["outcome"] == "failed"
        getattr(get(), "error" if failed else "debug" if _QUIET.get() else "info")(step, **learned)
