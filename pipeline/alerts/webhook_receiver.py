"""The `webhook` receiver: JSON, signed as https://www.standardwebhooks.com says, over HTTP.

In: messages. Out: one POST each, that takes no longer than `timeout` whatever the server does. Errors
carry a status or a kind of failure, never an address, a secret, or a word the server said.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from datetime import UTC, timedelta

from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from pipeline import clock
from pipeline.alerts.message import Message
from pipeline.alerts.post import Poster
from pipeline.errors import ConfigError

PICTURE_LIMIT = 256 * 1024


class WebhookReceiver:
    """Posts to `url`. `secret` is `whsec_…`; two of them, with a blank or comma between, while rotating."""

    def __init__(self, url: str, secret: str, timeout: timedelta) -> None:
        self._poster, self.timeout = Poster(url, timeout), timeout
        self._signers = [_signer(each) for each in re.split(r"[\s,]+", secret.strip()) if each]
        if not self._signers:
            raise ConfigError("a webhook needs a secret", expected="whsec_ and base64 of 24 to 64 bytes")

    def send(self, message: Message) -> None:
        """Post once; 2xx is delivered, 410 is gone, other 4xx are refusals, all else may work later."""
        body = body_of(message)
        self._poster.post(body, self._headers(message.key, body))

    def _headers(self, key: str, body: str) -> dict[str, str]:
        at = clock.now()
        return {
            "webhook-id": key,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(s.sign(key, at.astimezone(UTC), body) for s in self._signers),
        }


def body_of(message: Message, *, pictures: bool = True) -> str:
    """Return the JSON that is posted: type, timestamp and data, as Standard Webhooks recommends."""
    data = {"key": message.key, "thread": message.thread, "severity": message.severity}
    data |= {"title": message.title, "text": message.text}
    small = pictures and message.picture is not None and len(message.picture) <= PICTURE_LIMIT
    picture = (
        {
            "type": "image/png",
            "base64": base64.b64encode(message.picture).decode(),
        }
        if small and message.picture
        else None
    )
    return json.dumps(
        {
            "type": f"anomaly.{message.event}" if message.event != "meta" else "delivery.failed",
            "timestamp": message.created_at.isoformat(),
            "data": {**data, "stream": message.stream, **message.data, "picture": picture},
        },
        allow_nan=False,
    )


def _signer(secret: str) -> Webhook:
    expected = "whsec_ and base64 of 24 to 64 bytes"
    try:
        raw = base64.b64decode(secret.removeprefix("whsec_") + "==")
        signer = Webhook(secret)
    except (binascii.Error, ValueError, EmptyWebhookSecretError):
        raise ConfigError("a webhook's secret cannot be read", expected=expected) from None
    if not 24 <= len(raw) <= 64:
        raise ConfigError("a webhook's secret has the wrong length", expected=expected)
    return signer
