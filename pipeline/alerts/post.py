"""One POST over HTTP, that takes no longer than it may, and what the answer means for an alert.

In: an address, a body. Out: nothing when it was taken. Errors carry a status or a kind of failure, never an
address, a secret, or a word the server said.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx

from pipeline import clock
from pipeline.alerts.message import Gone, Throttled
from pipeline.alerts.quiet import quietly
from pipeline.errors import ConfigError, DeliveryFailed, DeliveryRefused

_TRY_AGAIN = frozenset({408, 409, 425, 429})
_LONGEST_PAUSE = timedelta(days=1)


class Poster:
    """Posts JSON to one address: 2xx is taken, 410 is gone, other 4xx refuse, all else may work later."""

    def __init__(self, url: str, timeout: timedelta) -> None:
        self.url, self._seconds = checked(url), timeout.total_seconds()
        self._tls = httpx.create_ssl_context() if self.url.scheme == "https" else False

    def post(self, body: str, headers: Mapping[str, str] | None = None) -> None:
        """Post once.

        Raises:
            DeliveryFailed: it may work later; `Throttled` says when.
            DeliveryRefused: it never will; `Gone` if nothing else will either.
        """
        known = {"content-type": "application/json", "user-agent": "offbeat", **(headers or {})}
        with quietly():
            status, answered = asyncio.run(self._post(body, known))
        _judge(status, answered)

    async def _post(self, body: str, headers: Mapping[str, str]) -> tuple[int, httpx.Headers]:
        seconds = self._seconds
        try:
            # httpx bounds each read; a server that drips one byte at a time needs a bound on the whole.
            async with (
                asyncio.timeout(seconds),
                httpx.AsyncClient(verify=self._tls, timeout=seconds, follow_redirects=False) as client,
                client.stream("POST", self.url, content=body.encode(), headers=headers) as response,
            ):
                return response.status_code, response.headers
        except (TimeoutError, httpx.TimeoutException):
            raise DeliveryFailed(f"no answer within {seconds:g} s") from None
        except (httpx.HTTPError, OSError) as error:
            raise DeliveryFailed(f"no answer: {type(error).__name__}") from None


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


def checked(url: str) -> httpx.URL:
    """Return an address that can be posted to; ConfigError where it is none."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError):
        raise ConfigError("the receiver's address cannot be read", expected="https://…") from None
    if parsed.scheme not in ("https", "http") or not parsed.host or not 0 < (parsed.port or 80) < 65536:
        raise ConfigError("the receiver's address cannot be read", expected="https://…")
    return parsed
