"""The app itself: pages, API, login and static files behind one guard.

In: a keeper, and a door that says who asks. Out: a FastAPI app, served alone or mounted in Airflow.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Form, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response

from pipeline import __version__, log
from pipeline.errors import ConfigError, DataError, NoChampion, NotFound, OffbeatError, TransientError
from pipeline.web import api, pages
from pipeline.web.guard import API, Door, Guard, form_token, inner_path
from pipeline.web.keeper import Keeper
from pipeline.web.login import BEFORE, COOKIE, SESSION, Sessions, Throttle, address, local, secret_of
from pipeline.web.people import Person, Users
from pipeline.web.show import html
from pipeline.web.statics import statics

YEAR = 31_536_000  # seconds


def application(keeper: Keeper, *, users: Users | None = None, door: Door | None = None) -> FastAPI:
    """Return the app.

    Args:
        keeper: what it shows.
        users: who may log in here; or
        door: says who asks, where somebody else knows.
    """
    sessions = Sessions(secret_of(keeper.work.home.page))
    door = door or _door(users or Users({}), sessions)
    app = FastAPI(
        title="Offbeat",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
    )
    app.state.keeper, app.state.sessions, app.state.door = keeper, sessions, door
    app.state.users, app.state.throttle = users, Throttle()
    app.include_router(api.router)
    app.include_router(pages.router)
    app.include_router(_plain)
    if door.login:
        app.include_router(_login)
    for error, handler in (
        (OffbeatError, _offbeat),
        (HTTPException, _http),
        (RequestValidationError, _invalid),
    ):
        app.add_exception_handler(error, handler)  # type: ignore[arg-type]
    app.add_middleware(Guard, door=door, sessions=sessions, awake=keeper.start)
    return app


def _door(users: Users, sessions: Sessions) -> Door:
    async def person(request: Request) -> Person | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            user = users.by_token(token.strip())
            return Person(user.name, user.role) if user else None
        return sessions.person(request.cookies.get(COOKIE, ""), users)

    return Door(person)


# -- what is served as it is

_plain = APIRouter(include_in_schema=False)


@_plain.get("/health")
def health() -> dict[str, str]:
    """Say that the server answers."""
    return {"status": "healthy"}


@_plain.get("/static/{name}")
def static(name: str, request: Request) -> Response:
    """Return a style sheet or script, kept by browsers for as long as its address stays."""
    if (found := statics().get(name)) is None:
        raise HTTPException(404, f"no file {name!r}")
    packed = "gzip" in request.headers.get("accept-encoding", "")
    headers = {"cache-control": f"public, max-age={YEAR}, immutable", "vary": "accept-encoding"}
    if packed:
        headers["content-encoding"] = "gzip"
    return Response(found.packed if packed else found.body, media_type=found.kind, headers=headers)


# -- login

_login = APIRouter(include_in_schema=False)


@_login.get("/login")
def login_form(request: Request, next: str = "/") -> Response:  # noqa: A002 - as browsers show it
    """Ask who it is."""
    return _asked(request, next)


def _asked(request: Request, onward: str, status: int = 200, wrong: str = "", **headers: str) -> Response:
    """Return the form; its token is bound to a cookie that lives as long as the form."""
    before = secrets.token_hex(16)
    request.state.csrf = request.app.state.sessions.token(before)
    answer = html(request, "login.html", status, next=local(onward), wrong=wrong)
    answer.headers.update(headers)
    _keep(request, answer, BEFORE, before, 3600)
    return answer


def _keep(request: Request, answer: Response, name: str, value: str, seconds: int) -> None:
    path = request.scope.get("root_path", "") or "/"
    secure = request.url.scheme == "https"
    answer.set_cookie(name, value, max_age=seconds, path=path, httponly=True, samesite="lax", secure=secure)


@_login.post("/login")
async def login(
    request: Request,
    name: Annotated[str, Form(max_length=200)] = "",
    password: Annotated[str, Form(max_length=1000)] = "",
    next: Annotated[str, Form(max_length=4000)] = "/",  # noqa: A002
) -> Response:
    """Begin a session for who knows the password."""
    state = request.app.state
    if not state.sessions.own(await form_token(request), request.cookies.get(BEFORE, "")):
        return _asked(request, next, 403, "This form was too old. Please try again.")
    keys = (f"name {name}", f"from {address(request)}")
    if wait := state.throttle.wait(*keys):
        seconds = str(int(wait) + 1)
        wrong = f"Too many wrong passwords. Try again in {seconds} seconds."
        return _asked(request, next, 429, wrong, **{"retry-after": seconds})
    user = await run_in_threadpool(state.users.by_password, name, password)
    if user is None:
        state.throttle.wrong(*keys)
        log.get().warning("login refused", who=name[:80], address=address(request))
        return _asked(request, next, 401, "No such name and password.")
    base = request.scope.get("root_path", "")
    onward = local(next)
    answer = RedirectResponse(f"{base}/" if onward == "/" else onward, 303)
    _keep(request, answer, COOKIE, state.sessions.begin(user), SESSION)
    answer.delete_cookie(BEFORE, path=base or "/")
    return answer


@_login.post("/logout")
async def logout(request: Request) -> Response:
    """End the session."""
    person: Person = request.state.person
    if not person.session or not request.app.state.sessions.own(await form_token(request), person.session):
        raise HTTPException(403, "this form is too old, or came from another site: load the page again")
    request.app.state.sessions.end(person)
    base = request.scope.get("root_path", "")
    answer = RedirectResponse(f"{base}/login", 303)
    answer.delete_cookie(COOKIE, path=base or "/")
    return answer


# -- what goes wrong


def _told(request: Request, status: int, why: str, **more: Any) -> Response:
    if inner_path(request.scope).startswith(API):
        return JSONResponse({"error": why, **more}, status)
    return html(request, "error.html", status, code=status, why=why)


async def _offbeat(request: Request, error: OffbeatError) -> Response:
    why = log.redact(str(error))
    if isinstance(error, TransientError):
        return _told(request, 503, why)
    missing = isinstance(error, (ConfigError, NotFound))
    if not isinstance(error, (ConfigError, DataError, NoChampion)):
        log.get().warning("not shown", path=request.url.path, why=why)
    return _told(request, 404 if missing else 409, why)


async def _http(request: Request, error: HTTPException) -> Response:
    answer = _told(request, error.status_code, str(error.detail))
    answer.headers.update(error.headers or {})
    return answer


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    said = [f"{'.'.join(str(p) for p in e['loc'][1:])}: {e['msg']}" for e in error.errors()]
    return _told(request, 422, "; ".join(said))
