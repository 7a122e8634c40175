"""The `webhook` receiver: JSON, signed as https://www.standardwebhooks.com says, over HTTP.

In: messages. Out: one POST each, that takes no longer than `timeout` whatever the server does. Errors
carry a status or a kind of failure, never an address, a secret, or a word the server said.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx
from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from pipeline import clock
from pipeline.alerts.message import Gone, Message, Throttled
from pipeline.alerts.quiet import quietly
from pipeline.errors import ConfigError, DeliveryFailed, DeliveryRefused

PICTURE_LIMIT = 256 * 1024
_TRY_AGAIN = frozenset({408, 409, 425, 429})
_LONGEST_PAUSE = timedelta(days=1)


class WebhookReceiver:
    """Posts to `url`. `secret` is `whsec_…`; two of them, with a blank or comma between, while rotating."""

    def __init__(self, url: str, secret: str, timeout: timedelta) -> None:
        self._url, self.timeout = _checked(url), timeout
        self._signers = [_signer(each) for each in re.split(r"[\s,]+", secret.strip()) if each]
        if not self._signers:
            raise ConfigError("a webhook needs a secret", expected="whsec_ and base64 of 24 to 64 bytes")
        self._tls = httpx.create_ssl_context() if self._url.scheme == "https" else False

    def send(self, message: Message) -> None:
        """Post once; 2xx is delivered, 410 is gone, other 4xx are refusals, all else may work later."""
        body = body_of(message)
        with quietly():
            status, headers = asyncio.run(self._post(body, self._headers(message.key, body)))
        _judge(status, headers)

    def _headers(self, key: str, body: str) -> dict[str, str]:
        at = clock.now()
        return {
            "content-type": "application/json",
            "user-agent": "offbeat",
            "webhook-id": key,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(s.sign(key, at.astimezone(UTC), body) for s in self._signers),
        }

    async def _post(self, body: str, headers: Mapping[str, str]) -> tuple[int, httpx.Headers]:
        seconds = self.timeout.total_seconds()
        try:
            # httpx bounds each read; a server that drips one byte at a time needs a bound on the whole.
            async with (
                asyncio.timeout(seconds),
                httpx.AsyncClient(verify=self._tls, timeout=seconds, follow_redirects=False) as client,
                client.stream("POST", self._url, content=body.encode(), headers=headers) as response,
            ):
                return response.status_code, response.headers
        except (TimeoutError, httpx.TimeoutException):
            raise DeliveryFailed(f"no answer within {seconds:g} s") from None
        except (httpx.HTTPError, OSError) as error:
            raise DeliveryFailed(f"no answer: {type(error).__name__}") from None


def body_of(message: Message) -> str:
    """Return the JSON that is posted: type, timestamp and data, as Standard Webhooks recommends."""
    data = {"key": message.key, "severity": message.severity, "title": message.title, "text": message.text}
    small = message.picture is not None and len(message.picture) <= PICTURE_LIMIT
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


def _judge(status: int, headers: Mapping[str, str]) -> None:
    if 200 <= status < 300:
        return
    if status == 410:
        raise Gone("HTTP 410: the receiver is gone")
    if 400 <= status < 500 and status not in _TRY_AGAIN:
        raise DeliveryRefused(f"HTTP {status}")
    pause = retry_after(headers.get("retry-after", ""), clock.now())
    if pause is not None and status in (429, 503):
        raise Throttled(f"HTTP {status}", pause)
    raise DeliveryFailed(f"HTTP {status}")


def retry_after(value: str, now: datetime) -> timedelta | None:
    """Read a Retry-After header, seconds or a date; a day at most, None if it says nothing useful."""
    if re.fullmatch(r"[0-9]{1,9}", value.strip()):
        pause = timedelta(seconds=int(value))
    else:
        try:
            at = parsedate_to_datetime(value)
        except ValueError:
            return None
        pause = (at if at.tzinfo else at.replace(tzinfo=UTC)) - now
    return min(pause, _LONGEST_PAUSE) if pause > timedelta(0) else None


def _checked(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError):
        raise ConfigError("the webhook's address cannot be read", expected="https://…") from None
    if parsed.scheme not in ("https", "http") or not parsed.host or not 0 < (parsed.port or 80) < 65536:
        raise ConfigError("the webhook's address cannot be read", expected="https://…")
    return parsed


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
