"""The desk: somebody who is told. A webhook receiver on this machine that checks every signature.

In: signed POSTs. Out: the alerts as they arrived, each key once, and how often one came again.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

LIMIT = 4 << 20  # bytes of an alert


@dataclass
class Desk:
    """What has arrived."""

    url: str
    secret: str
    alerts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By idempotency key, in the order they came."""
    repeats: int = 0
    refused: int = 0

    def take(self, body: bytes, headers: dict[str, str]) -> int:
        """Keep an alert if its signature is right; return the HTTP status to answer with."""
        try:
            Webhook(self.secret).verify(body, headers)
        except WebhookVerificationError:
            self.refused += 1
            return 401
        key = headers["webhook-id"]
        self.repeats += key in self.alerts
        self.alerts.setdefault(key, json.loads(body))
        return 204


@contextmanager
def open_desk() -> Iterator[Desk]:
    """Listen on a free port of 127.0.0.1 for the length of the block."""
    desk = Desk("", "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = min(int(self.headers.get("content-length", 0)), LIMIT)
            body = self.rfile.read(length)
            self.send_response(desk.take(body, {k.lower(): v for k, v in self.headers.items()}))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    desk.url = f"http://127.0.0.1:{server.server_port}/alerts"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield desk
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
