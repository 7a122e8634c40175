"""`offbeat receive`: an HTTP endpoint that takes records of streams whose `source.type` is `http`.

In: POST /streams/<name>, a JSON object, a list of them or a line each, perhaps gzip. Out: lines in the
stream's inbox. The answer 200 comes when they are on the disk, and not before: whoever got none sends again.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline import log
from pipeline.config.models import HttpSource, Stream
from pipeline.config.secrets import resolve
from pipeline.sources.inbox import Inbox, folder

LATER = 30  # seconds after which a sender may try again where too much is waiting
MEASURED = 1.0  # seconds for which a measure of what is waiting holds


class Refused(Exception):
    """A request that is not taken: status, and what is wrong with it."""

    def __init__(self, status: int, why: str, **headers: str) -> None:
        super().__init__(why)
        self.status, self.headers = status, headers


@dataclass
class Desk:
    """Takes what is sent to one stream. Requests that come while the disk is busy are written together."""

    stream: Stream
    config: HttpSource
    inbox: Inbox
    _queue: list[tuple[bytes, asyncio.Future[None]]] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None
    _tokens: float = 0.0
    _filled: float = 0.0
    _waiting: tuple[float, int] = (0.0, 0)

    async def take(self, request: Request) -> int:
        """Store the records of a request; return how many they were (Refused where it is not taken)."""
        self._allow()
        raw = await _body(request, self.config.body)
        self._authenticate(request, raw)
        records = _records(_unpacked(request, raw, self.config.body), request.headers.get("content-type", ""))
        if records:
            await self._store(b"".join(record + b"\n" for record in records))
        return len(records)

    def known(self, request: Request) -> None:
        """Refuse a request that shows a wrong token, or none, before its body is read."""
        if self.config.token is None:
            return
        shown = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(shown.encode(), resolve(self.config.token).encode()):
            raise _unknown()

    def _allow(self) -> None:
        now = time.monotonic()
        self._tokens = min(self.config.rate, self._tokens + (now - self._filled) * self.config.rate)
        self._filled = now
        if self._tokens < 1:
            raise Refused(429, f"more than {self.config.rate} requests a second", **{"Retry-After": "1"})
        self._tokens -= 1
        if now - self._waiting[0] > MEASURED:
            self._waiting = (now, self.inbox.waiting())
        if self._waiting[1] >= self.config.waiting:
            raise Refused(429, "too much waits to be ingested", **{"Retry-After": str(LATER)})

    def _authenticate(self, request: Request, raw: bytes) -> None:
        if self.config.secret is None:
            return
        ours = Webhook(resolve(self.config.secret))
        try:
            ours.verify(raw, dict(request.headers), json_parse=False)
        except (WebhookVerificationError, ValueError):  # also what is not even written as a signature
            raise _unknown() from None

    async def _store(self, lines: bytes) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((lines, done))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write())
        await done

    async def _write(self) -> None:
        while self._queue:
            batch, self._queue = self._queue, []
            try:
                await asyncio.to_thread(self.inbox.append, b"".join(lines for lines, _ in batch))
                failure = None
            except OSError as error:
                log.get().error("not written", stream=self.stream.name, why=str(error))
                failure = Refused(503, "cannot be stored now", **{"Retry-After": str(LATER)})
            for _, done in batch:
                if not done.cancelled():
                    done.set_exception(failure) if failure else done.set_result(None)


def _unknown() -> Refused:
    """Return what a sender is told whom we do not know: not even which streams there are."""
    return Refused(401, "unknown stream, or not allowed", **{"WWW-Authenticate": "Bearer"})


def application(streams: Mapping[str, Stream], base: Path) -> Starlette:
    """Return the ASGI application for those of `streams` that are received; inboxes are below `base`."""
    desks = {
        name: Desk(stream, stream.source, Inbox(folder(stream, stream.source, base)))
        for name, stream in streams.items()
        if isinstance(stream.source, HttpSource)
    }

    async def take(request: Request) -> Response:
        try:
            desk = desks.get(request.path_params["stream"])
            if desk is None:
                raise _unknown()
            desk.known(request)
            return JSONResponse({"stored": await desk.take(request)})
        except Refused as refused:
            return JSONResponse({"error": str(refused)}, refused.status, refused.headers)

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "healthy"})

    @asynccontextmanager
    async def closed(_: Starlette) -> AsyncIterator[None]:
        yield
        for desk in desks.values():
            desk.inbox.close()

    routes = [Route("/streams/{stream}", take, methods=["POST"]), Route("/health", health)]
    return Starlette(routes=routes, lifespan=closed)


async def _body(request: Request, most: int) -> bytes:
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > most:
        raise _too_long(most)
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise _too_long(most)
        parts.append(part)
    return b"".join(parts)


def _too_long(most: int) -> Refused:
    return Refused(413, f"longer than {most} bytes; send fewer records at once", Connection="close")


def _unpacked(request: Request, raw: bytes, most: int) -> bytes:
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding == "identity":
        return raw
    if encoding != "gzip":
        raise Refused(415, f"content-encoding {encoding} is not read; expected gzip or none")
    unpack = zlib.decompressobj(wbits=31)
    try:
        text = unpack.decompress(raw, most + 1)
    except zlib.error as error:
        raise Refused(400, f"not gzip: {error}") from None
    if len(text) > most:
        raise _too_long(most)
    if not unpack.eof:
        raise Refused(400, "gzip that ends too soon")
    return text


def _records(text: bytes, kind: str) -> list[bytes]:
    """Return each record as a line; what is wrong with one of its values is the ingest's to say."""
    kind = kind.partition(";")[0].strip().lower()
    if kind in ("application/x-ndjson", "application/jsonl"):
        lines = [line.strip() for line in text.split(b"\n")]
        found = [(n, line, _loads(line, f"line {n}")) for n, line in enumerate(lines, 1) if line]
        return [_checked(value, f"line {n}", line) for n, line, value in found]
    if kind not in ("application/json", ""):
        raise Refused(
            415, f"content-type {kind} is not read; expected application/json or application/x-ndjson"
        )
    value = _loads(text, "the body")
    if isinstance(value, list):
        return [_checked(one, f"record {n}", _line(one)) for n, one in enumerate(value)]
    return [_checked(value, "the body", _line(value))]


def _loads(text: bytes, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"{what} is not JSON: {str(error)[:100]}") from None


def _checked(value: Any, what: str, line: bytes) -> bytes:
    if not isinstance(value, dict):
        raise Refused(422, f"{what} is no record; expected a JSON object; nothing of this request was stored")
    return line


def _line(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
