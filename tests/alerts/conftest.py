"""A real HTTP server that behaves as badly as asked, a real database, and anomalies to tell of."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import structlog

from pipeline.alerts.message import Message
from pipeline.events import Anomaly, Context, Contribution, Event
from pipeline.store import anomalies, lifecycle
from pipeline.store.database import open_database

START = datetime(2026, 3, 1, 3, 12, tzinfo=UTC)
SECRET = "whsec_" + base64.b64encode(b"an old secret of 32 bytes, sure.").decode()
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@dataclass
class Post:
    """One request as the server saw it."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def key(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Hooks:
    """The server: what was posted, and by path what it does about it; unknown paths answer 204."""

    base: str
    posts: list[Post] = field(default_factory=list)
    behave: dict[str, Callable[[Any], None]] = field(default_factory=dict)

    def url(self, path: str, status: int | None = None, headers: dict[str, str] | None = None) -> str:
        if status is not None:
            self.behave[path] = lambda handler: answer(handler, status, headers)
        return self.base + path

    def to(self, path: str) -> list[Post]:
        return [post for post in self.posts if post.path == path]


def answer(handler: Any, status: int, headers: dict[str, str] | None = None) -> None:
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("content-length", "0")
    handler.end_headers()


def reset(handler: Any) -> None:
    """Slam the connection shut with a TCP reset."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(handler.connection.detach())
    handler.close_connection = True


def hang(handler: Any) -> None:
    time.sleep(20)


def drip(handler: Any) -> None:
    """Send a byte now and then, so that no single read ever times out."""
    for byte in b"HTTP/1.1 200 OK\r\n" + b"x-slow: " + b"y" * 400:
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        time.sleep(0.05)


def drivel(handler: Any) -> None:
    handler.wfile.write(b"\x00\xffnot http at all\r\n\r\n")


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            known = {name.lower(): value for name, value in self.headers.items()}
            server.posts.append(Post(self.path, known, body, time.monotonic()))
            try:
                first = "/" + self.path.split("?")[0].split("/")[1]
                server.behave.get(first, lambda h: answer(h, 204))(self)
            except OSError:
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            return

        def finish(self) -> None:
            with contextlib.suppress(OSError, ValueError):
                super().finish()

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: Any) -> None:
            return

    listener = Quiet(("127.0.0.1", 0), Handler)
    server = Hooks(f"http://127.0.0.1:{listener.server_port}")
    server.behave |= {"/reset": reset, "/hang": hang, "/drip": drip, "/drivel": drivel}
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server
    listener.shutdown()
    listener.socket.close()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = open_database(f"sqlite:///{tmp_path}/offbeat.db")
    yield engine
    engine.dispose()


@pytest.fixture
def at() -> Callable[[float], datetime]:
    """Return a moment so many minutes after 03:12."""
    return lambda minutes: START + timedelta(minutes=minutes)


def _event(**facts: Any) -> Event:
    channels = (
        Contribution("vibration", 0.71, 2.3123, 9.1),
        Contribution("pressure", 0.2, 1013.25, 998.4),
        Contribution("state", 0.09, None, None),
    )
    known: dict[str, Any] = {"entity": "pump-7", "start": START, "end": START + timedelta(minutes=12)}
    known |= {"peak": START, "peak_score": 4.23456, "severity": "high", "channels": channels, "open": True}
    return Event(**(known | facts))


PUMPS = Context(
    units={"vibration": "mm/s", "pressure": "hPa"},
    merge=timedelta(minutes=5),
    version=3,
    run="0a1b2c",
    airflow_run="score__pump_station/scheduled__2026-03-01T00:00:00+00:00",
)


@pytest.fixture
def event() -> Callable[..., Event]:
    return _event


@pytest.fixture
def anomaly() -> Callable[..., Anomaly]:
    """Return an anomaly, of a pump unless told otherwise."""

    def make(*, stream: str = "pump_station", context: Context = PUMPS, **facts: Any) -> Anomaly:
        seen = lifecycle.cleaned(_event(**facts), context)
        now = START + timedelta(minutes=13)
        return lifecycle.opened(stream, seen, context, now=now, silent=False).anomaly

    return make


@pytest.fixture
def record(engine: sa.Engine) -> Callable[..., anomalies.Recorded]:
    """Record anomalies of so many pumps, open unless told otherwise, for the receivers named."""

    def run(*receivers: str, pumps: int = 1, **facts: Any) -> anomalies.Recorded:
        seen = [_event(entity=f"pump-{i}", **facts) for i in range(pumps)]
        now = START + timedelta(minutes=13)
        return anomalies.record(engine, "pump_station", seen, now=now, receivers=receivers, context=PUMPS)

    return run


@pytest.fixture
def message() -> Callable[..., Message]:
    def make(**facts: Any) -> Message:
        known: dict[str, Any] = {
            "key": "0123abcd-firing",
            "event": "firing",
            "stream": "pump_station",
            "title": "pump_station: pump-7 vibration 9.1 mm/s — high",
            "text": "title\n\nline one\nline two",
            "severity": "high",
            "data": {"anomaly": {"entity": "pump-7"}},
            "created_at": START,
            "picture": PNG,
        }
        return Message(**(known | facts))

    return make


@pytest.fixture
def secret() -> str:
    return SECRET


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    """What was logged, one dict a line."""
    with structlog.testing.capture_logs() as lines:
        yield lines
