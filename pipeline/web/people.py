"""Who may look, and who may answer: users with a role, known by a password or a token.

In: a YAML or JSON list, from the environment or a file. Out: a `User`, or none. Passwords are kept as scrypt
(RFC 7914) makes them, tokens as their SHA-256: they are long and random.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.config.secrets import resolve
from pipeline.errors import ConfigError

VIEWER, OPERATOR = "viewer", "operator"
ROLES = (VIEWER, OPERATOR)
"""A viewer reads; an operator also answers."""
USERS = "${env:OFFBEAT_WEB_USERS}"
_N, _R, _P = 2**14, 8, 1  # 16 MiB and some 50 ms a guess
_EXPECTED = "a list of {name, role: viewer|operator, password: scrypt$… or token: sha256$…}"


@dataclass(frozen=True)
class Person:
    """Somebody who is logged in.

    Args:
        name: as answers record it.
        role: one of `ROLES`.
        session: what forms are bound to; "" for who showed a token, whom no browser sends by itself.
    """

    name: str
    role: str
    session: str = ""

    @property
    def answers(self) -> bool:
        """Whether this person may answer, or only look."""
        return self.role == OPERATOR


@dataclass(frozen=True)
class User:
    """One line of the list."""

    name: str
    role: str
    password: str = ""
    token: str = ""

    @property
    def stamp(self) -> str:
        """Changes with the password, so that older sessions end."""
        return hashlib.sha256(f"{self.name}:{self.password}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Users:
    """All who are known, by name."""

    known: Mapping[str, User]

    @classmethod
    def read(cls, reference: str = USERS) -> Users:
        """Read the list, or the file that is named instead of it.

        Raises:
            ConfigError: nobody is named, or a line is wrong; passwords are not shown.
        """
        text = resolve(reference)
        file = "" if text.lstrip().startswith(("[", "{", "-")) else text.strip()
        try:
            found = yaml.safe_load(Path(file).read_text(encoding="utf-8") if file else text)
        except (OSError, yaml.YAMLError) as error:
            what = error.strerror if isinstance(error, OSError) else "not YAML"
            raise ConfigError(f"users: {what}", file=file or reference, expected=_EXPECTED) from None
        if not isinstance(found, list) or not found:
            raise ConfigError("users: no list", file=file or reference, expected=_EXPECTED)
        users = [_user(line, n, file or reference) for n, line in enumerate(found)]
        if len({user.name for user in users}) < len(users):
            raise ConfigError("users: a name comes twice", file=file or reference)
        return cls({user.name: user for user in users})

    def by_password(self, name: str, password: str) -> User | None:
        """Return who has this name and password; takes as long for a name that nobody has."""
        user = self.known.get(name)
        right = matches(password, user.password if user and user.password else _NOBODY)
        return user if user and user.password and right else None

    def by_token(self, token: str) -> User | None:
        """Return who has this token."""
        shown = token_hash(token)
        return next((u for u in self.known.values() if u.token and hmac.compare_digest(u.token, shown)), None)


def _user(line: Any, number: int, file: str) -> User:
    if not isinstance(line, dict) or not set(line) <= {"name", "role", "password", "token"}:
        wrong, user = "not a user", User("", "")
    else:
        said = {key: str(value) for key, value in line.items()}
        user = User(**{"name": "", "role": VIEWER} | said)
        wrong = _wrong(user)
    if wrong:
        raise ConfigError(f"users: {wrong}", file=file, key=f"[{number}]", expected=_EXPECTED)
    return user


def _wrong(user: User) -> str:
    """Say what is wrong with a user; "" for nothing."""
    hashed = "is not a hash: `offbeat web --hash` makes one"
    checks = (
        (not user.name or len(user.name) > 200 or not user.name.isprintable(), "no name"),
        (user.role not in ROLES, f"{user.name} has an unknown role"),
        (not (user.password or user.token), f"{user.name} has neither password nor token"),
        (bool(user.password) and _parts(user.password) is None, f"the password of {user.name} {hashed}"),
        (bool(user.token) and not user.token.startswith("sha256$"), f"the token of {user.name} {hashed}"),
    )
    return next((what for failed, what in checks if failed), "")


def password_hash(password: str) -> str:
    """Return what stands in the list for a password."""
    salt = secrets.token_bytes(16)
    made = hashlib.scrypt(password.encode(), salt=salt, n=_N, r=_R, p=_P)
    return f"scrypt${_N}${_R}${_P}${_b64(salt)}${_b64(made)}"


def token_hash(token: str) -> str:
    """Return what stands in the list for a token."""
    return "sha256$" + hashlib.sha256(token.encode()).hexdigest()


def matches(password: str, stored: str) -> bool:
    """Tell whether a password is the one that was hashed."""
    if (parts := _parts(stored)) is None:
        return False
    n, r, p, salt, made = parts
    found = hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=256 << 20)
    return hmac.compare_digest(found, made)


def _parts(stored: str) -> tuple[int, int, int, bytes, bytes] | None:
    """Return cost, block size, lanes, salt and hash; None where it is no hash, or one that costs too much."""
    try:
        name, n, r, p, salt, made = stored.split("$")
        numbers = int(n), int(r), int(p)
        raw = base64.b64decode(salt, validate=True), base64.b64decode(made, validate=True)
    except ValueError:
        return None
    cost = numbers[0]
    sane = name == "scrypt" and 2**12 <= cost <= 2**17 and cost & (cost - 1) == 0 and 0 < numbers[1] <= 16
    return (*numbers, *raw) if sane and 0 < numbers[2] <= 4 and len(raw[1]) >= 32 else None


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


_NOBODY = f"scrypt${_N}${_R}${_P}${_b64(bytes(16))}${_b64(bytes(64))}"
