"""Telling credentials from harmless text, so that none stands in a file in clear or is echoed in an error.

In: text. Out: what is wrong with it as a reference, path, address or secret. Never the text itself.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pipeline.config.scalars import Reference

REFERENCE = re.compile(
    r"\$\{(?:env:(?P<env>[A-Za-z_][A-Za-z0-9_]{0,127})"
    r"|connection:(?P<connection>[A-Za-z0-9_.\-]{1,128})(?::(?P<part>[a-z][a-z0-9_.]{0,63}))?)\}"
)
FORMS = "`${env:NAME}` or `${connection:NAME}`"
_PLAIN_SERVICES = frozenset({"json", "jsons", "xml", "xmls", "form", "forms", "syslog"})
_KEY = re.compile(r"secret|pass|token|api_?key|credential|authorization|signature", re.I)
_TOKEN = re.compile(r"(?=[A-Za-z0-9_\-]*[0-9])(?=[A-Za-z0-9_\-]*[A-Za-z])[A-Za-z0-9_\-]{20,}")
_USER = re.compile(r"://([^/?#\s]*)@")
_PAIR = re.compile(r"[?&]([^=&#\s]+)=([^&#\s]+)")
_GIVEN = "\0"  # stands for a reference while the rest of a text is looked at
_PREFIX = re.compile(r"\b(whsec_|xox[abprs]-|sk[-_]|gh[pousr]_|AKIA|Bearer )")


def looks_secret(text: str) -> bool:
    """Tell whether `text` holds what looks like a token, or a URL with a user or password in it."""
    users = any(_GIVEN not in user for user in _USER.findall(text))
    pairs = any(_KEY.search(key) and _GIVEN not in value for key, value in _PAIR.findall(text))
    return bool(users or pairs or _PREFIX.search(text) or _TOKEN.search(text))


def named_secret(key: str) -> bool:
    """Tell whether a key's name says that its value is a secret."""
    return bool(_KEY.search(key))


def misuse(text: str, reference: Reference | None) -> str:
    """Return what is wrong with `text` where `reference` says how `${…}` may be used; empty if nothing is."""
    rest = REFERENCE.sub(_GIVEN, text)
    if "${" in rest:
        return f"a `${{` that is neither {FORMS}"
    if reference is None:
        return "a reference is not read here" if rest != text else ""
    return _CHECKS[reference.kind](text, rest)


def _secret(text: str, rest: str) -> str:
    return "" if rest == _GIVEN else "a secret in clear"


def _address(text: str, rest: str) -> str:
    if looks_secret(rest):
        return "an address with credentials in clear"
    return "not a web address" if rest == text and not _web(text) else ""


def _web(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:  # http://[
        return False


def _service(text: str, rest: str) -> str:
    if looks_secret(rest):
        return "a service URL with credentials in clear"
    scheme = text.partition("://")[0].lower()
    return "a service URL in clear" if rest == text and scheme not in _PLAIN_SERVICES else ""


def _database(_: str, rest: str) -> str:
    return "a database URL with credentials in clear" if looks_secret(rest) else ""


_CHECKS = {
    "path": lambda *_: "",
    "address": _address,
    "database": _database,
    "service": _service,
    "secret": _secret,
}
