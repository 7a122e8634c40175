"""Sessions, and what protects them: signed cookies, tokens in forms, a limit on guesses.

In: requests. Out: who it is that asks. Nothing is kept but who logged out, until their sessions would end.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.requests import HTTPConnection

from pipeline.web.people import Person, User, Users

COOKIE, BEFORE = "offbeat_session", "offbeat_before"
SESSION = 12 * 3600  # seconds
GUESSES, WINDOW = 5, 60.0  # wrong passwords of one name, or from one address, in so many seconds
_MOST = 10_000  # names and addresses that are remembered


def secret_of(folder: Path) -> str:
    """Return the secret that cookies are signed by: `OFFBEAT_WEB_SECRET`, or one drawn once and kept."""
    if given := os.environ.get("OFFBEAT_WEB_SECRET"):
        return given
    path = folder / "secret"
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f".{secrets.token_hex(8)}"
    with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(48))
    try:
        path.hardlink_to(made)  # replaces nothing: of two that draw at once, one stays
    except FileExistsError:
        pass
    finally:
        made.unlink()
    return path.read_text()


@dataclass
class Sessions:
    """Signs and reads what browsers keep."""

    secret: str
    _ended: dict[str, float] = field(default_factory=dict)

    def _signer(self, salt: str) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self.secret, salt=f"offbeat.{salt}")

    def begin(self, user: User) -> str:
        """Return the cookie of a new session."""
        return self._signer("session").dumps([user.name, user.stamp, secrets.token_hex(16)])

    def person(self, cookie: str, users: Users) -> Person | None:
        """Return whose session it is; None where it is over, forged, or of an older password."""
        try:
            name, stamp, session = self._signer("session").loads(cookie, max_age=SESSION)
        except (BadSignature, ValueError, TypeError):
            return None
        user = users.known.get(name)
        known = user and user.stamp == stamp and session not in self._ended
        return Person(user.name, user.role, session) if user and known else None

    def end(self, person: Person) -> None:
        """Let nobody come in by this session again."""
        now = time.time()
        for old in [s for s, at in self._ended.items() if at < now]:
            del self._ended[old]
        self._ended[person.session] = now + SESSION

    def token(self, session: str) -> str:
        """Return what forms of a session carry, so that no other site can send them."""
        return self._signer("form").dumps(session)

    def own(self, token: str, session: str) -> bool:
        """Tell whether a form's token is of this session."""
        try:
            found = self._signer("form").loads(token, max_age=SESSION)
        except BadSignature:
            return False
        return bool(session) and secrets.compare_digest(str(found).encode(), session.encode())


@dataclass
class Throttle:
    """Counts wrong guesses by name and by address; thread-safe."""

    _wrong: dict[str, deque[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self, *keys: str) -> float:
        """Return the seconds until another guess is taken; 0 is now."""
        now = time.monotonic()
        with self._lock:
            return max((self._left(key, now) for key in keys), default=0.0)

    def wrong(self, *keys: str) -> None:
        """Note a wrong guess."""
        now = time.monotonic()
        with self._lock:
            while len(self._wrong) > _MOST:
                del self._wrong[next(iter(self._wrong))]
            for key in keys:
                self._wrong.setdefault(key, deque(maxlen=GUESSES)).append(now)

    def _left(self, key: str, now: float) -> float:
        times = self._wrong.get(key, deque())
        return max(times[0] + WINDOW - now, 0.0) if len(times) == GUESSES else 0.0


def local(path: str) -> str:
    """Return a path on this server to go on to; `/` for anything that leads elsewhere."""
    parts = urlsplit(path) if path.isprintable() and "\\" not in path else None
    here = parts and not parts.scheme and not parts.netloc and path.startswith("/") and path[1:2] != "/"
    return path if here else "/"


def address(request: HTTPConnection) -> str:
    """Return where a request comes from."""
    return request.client.host if request.client else "?"
