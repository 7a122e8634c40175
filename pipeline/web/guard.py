"""What stands before every page: nobody unknown comes in, and browsers are told what a page may do.

In: each request. Out: the same request with `state.person` and `state.csrf`, or a refusal.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.web.login import Sessions
from pipeline.web.people import Person

OPEN = ("/health", "/login", "/static/page.css")
LINK = "/answer/"
"""Below it are the pages behind signed links, which need no login."""
API = "/api/"
BODY = 65_536  # bytes of a request, at most
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors "
)


@dataclass(frozen=True)
class Door:
    """How people come in.

    Args:
        person: says who asks; None for nobody who is known.
        login: there is a login page of ours to send people to.
        inside: the page is shown in a frame of another one of this host: in Airflow's.
    """

    person: Callable[[Request], Awaitable[Person | None]]
    login: bool = True
    inside: bool = False


class Guard:
    """ASGI middleware; see above."""

    def __init__(self, app: ASGIApp, door: Door, sessions: Sessions, awake: Callable[[], None]) -> None:
        self.app, self.door, self.sessions, self.awake = app, door, sessions, awake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or refuse it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send) if scope["type"] == "lifespan" else None
        request = Request(scope, receive)
        sent = self._with_headers(scope, send)
        path = inner_path(scope)
        if refusal := _too_long(request):
            return await refusal(scope, receive, sent)
        person = await self.door.person(request)
        request.state.person = person
        request.state.csrf = self.sessions.token(person.session) if person and person.session else ""
        if person is None and path not in OPEN and not path.startswith(LINK):
            return await self._refusal(request, path)(scope, receive, sent)
        if person is not None:
            self.awake()
        return await self.app(scope, receive, sent)

    def _refusal(self, request: Request, path: str) -> Response:
        if path.startswith(API) or request.method not in ("GET", "HEAD") or not self.door.login:
            why = {"error": "log in first, or send a token: Authorization: Bearer …"}
            return JSONResponse(why, 401, {"WWW-Authenticate": "Bearer"})
        query = f"?{request.url.query}" if request.url.query else ""
        base = request.scope.get("root_path", "")
        return RedirectResponse(f"{base}/login?next={quote(base + path + query, safe='')}", 303)

    def _with_headers(self, scope: Scope, send: Send) -> Send:
        who = "'self'" if self.door.inside else "'none'"
        ours = {
            "content-security-policy": _CSP + who,
            "x-content-type-options": "nosniff",
            "x-frame-options": "SAMEORIGIN" if self.door.inside else "DENY",
            "referrer-policy": "no-referrer",
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "same-origin",
            "permissions-policy": "camera=(), geolocation=(), microphone=()",
        }
        if scope.get("scheme") == "https":
            ours["strict-transport-security"] = "max-age=31536000"

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(ours)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        return sent


def _too_long(request: Request) -> Response | None:
    """Refuse a body that is longer than any form of ours, or does not say how long it is."""
    length = request.headers.get("content-length", "0")
    if "transfer-encoding" in request.headers or not length.isdigit():
        return JSONResponse({"error": "say how long the body is: Content-Length"}, 411)
    if int(length) > BODY:
        return JSONResponse({"error": f"longer than {BODY} bytes"}, 413)
    return None


def inner_path(scope: Scope) -> str:
    """Return a request's path below where the app is mounted."""
    return str(scope["path"]).removeprefix(scope.get("root_path", "")) or "/"


async def answering(request: Request) -> Person:
    """Return who answers; refuse viewers, and requests that another site may have made a browser send.

    A form carries its token as `csrf`, a script as the header `X-CSRF-Token`; who shows a bearer token, which
    no browser sends by itself, needs neither.
    """
    person: Person = request.state.person
    if not person.answers:
        raise HTTPException(403, f"{person.name} may look, but not answer: ask for the role of an operator")
    if person.session and not request.app.state.sessions.own(await form_token(request), person.session):
        raise HTTPException(403, "this form is too old, or came from another site: load the page again")
    return person


async def form_token(request: Request) -> str:
    """Return the token that a form or a script sent; "" for none."""
    if header := request.headers.get("x-csrf-token"):
        return header
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("application/x-www-form-urlencoded", "multipart/form-data"):
        found: Any = (await request.form()).get("csrf", "")
        return found if isinstance(found, str) else ""
    return ""
