"""References become values at the moment of use: `${env:NAME}`, `${connection:NAME}` and a part of it.

In: a text from a config, and the environment. Out: the text with values in place; no log line shows them.
A connection is Airflow's, from `AIRFLOW_CONN_<NAME>`, as URI or JSON, and Airflow itself is not needed.
It stands for its whole URI; `${connection:NAME:password}` is one part (login, host, port, `extra.<key>`).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from pipeline import log
from pipeline.config.credentials import FORMS, REFERENCE
from pipeline.errors import ConfigError

OPEN = ("login", "host", "port", "schema")
PARTS = ("uri", "password", *OPEN)


def references(text: str) -> list[str]:
    """Return the references in `text`, as written."""
    return [found[0] for found in REFERENCE.finditer(text)]


def resolve(text: str, environment: Mapping[str, str] | None = None, *, secret: bool = True) -> str:
    """Return `text` with each reference replaced by what it stands for now. Values are not expanded again.

    Args:
        text: From a field that allows references.
        environment: `os.environ` when left out.
        secret: Hide the values from logs; False for what is no secret, such as the folder of a source.

    Raises:
        ConfigError: a reference leads nowhere; names the reference, never a value.
    """
    known = os.environ if environment is None else environment
    if "${" in REFERENCE.sub("", text):
        raise ConfigError("a `${` that is no reference", expected=FORMS)
    hide = log.hide if secret else _show
    return REFERENCE.sub(lambda found: _value(found, known, hide), text)


def _show(_: str) -> None:
    """Hide nothing."""


def _value(found: re.Match[str], known: Mapping[str, str], hide: Callable[[str], None]) -> str:
    reference = found[0]
    if found["env"]:
        value = _present(reference, known, found["env"])
        hide(value)
        return value
    name = "AIRFLOW_CONN_" + found["connection"].upper()
    parts = _connection(reference, _present(reference, known, name))
    part = found["part"] or "uri"
    wanted = parts.get(part)
    if not wanted:
        raise ConfigError(f"{reference}: the connection has no such part", expected=" ".join(PARTS))
    password = parts.get("password", "")
    for value in (password, quote(password, safe=""), "" if part in OPEN else wanted):
        hide(value)
    return wanted


def _present(reference: str, known: Mapping[str, str], name: str) -> str:
    value = known.get(name, "")
    if not value:
        state = "empty" if name in known else "not set"
        raise ConfigError(f"{reference}: the environment variable {name} is {state}")
    return value


def _connection(reference: str, text: str) -> dict[str, str]:
    """Return a connection's parts by name; those of `extra` as `extra.<key>`."""
    try:
        return _from_json(text) if text.lstrip().startswith("{") else _from_uri(text)
    except (ValueError, TypeError, AttributeError):
        # the message of the error behind this one may quote the value
        raise ConfigError(f"{reference}: the connection is neither a URI nor JSON") from None


def _from_uri(text: str) -> dict[str, str]:
    url = urlsplit(text)
    if not url.scheme:
        raise ValueError("no scheme")
    parts = {"login": url.username, "password": url.password, "host": url.hostname, "schema": url.path[1:]}
    texts = {name: unquote(value) for name, value in parts.items() if value}
    return {"uri": text, "port": str(url.port or "")} | texts


def _from_json(text: str) -> dict[str, str]:
    data: dict[str, Any] = json.loads(text)
    extra = data.get("extra") or {}
    extra = json.loads(extra) if isinstance(extra, str) else extra
    parts = {name: str(data.get(name) or "") for name in ("password", *OPEN)}
    more = {f"extra.{key}": str(value) for key, value in extra.items()}
    return parts | more | {"uri": _uri(str(data.get("conn_type") or ""), parts, extra)}


def _uri(scheme: str, parts: Mapping[str, str], extra: Mapping[str, Any]) -> str:
    """Write a connection as the URL that Apprise and HTTP clients read."""
    host, user = parts["host"], quote(parts["login"], safe="")
    user += f":{quote(parts['password'], safe='')}" if parts["password"] else ""
    if "://" in host:  # Airflow's HTTP connections may hold the scheme in the host
        scheme, _, host = host.partition("://")
    port = f":{parts['port']}" if parts["port"] else ""
    path = f"/{parts['schema']}" if parts["schema"] else ""
    query = f"?{urlencode({k: str(v) for k, v in extra.items()})}" if extra else ""
    return f"{scheme}://{user + '@' if user else ''}{host}{port}{path}{query}"
