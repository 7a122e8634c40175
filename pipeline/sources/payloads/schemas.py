"""Schemas from a schema registry, and the frame that says which one a message has.

In: the number of a schema, or its subject and version. Out: the schema, fetched once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from pipeline.config.models import SchemaRegistry
from pipeline.config.secrets import resolve
from pipeline.errors import ConfigError, Unavailable
from pipeline.sources.payloads.payload import Unreadable

try:
    import httpx2 as httpx  # the one that the registry's client prefers, and whose errors it raises
except ImportError:
    import httpx  # type: ignore[no-redef]

from confluent_kafka.schema_registry import Schema as Given
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

ANSWER = 10.0  # seconds for the registry to answer a request
TRIES = 3
PAUSE = 500  # ms at most between them
AGAIN = 30.0  # seconds after which the registry is asked again for a schema that it did not have
MOST = 1000  # such schemas that are remembered: bytes that are no frame may name any
_UNKNOWN = (40401, 40402, 40403)  # no such subject, version, schema
_LATER = (408, 425, 429)  # statuses below 500 that another try may change

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reference:
    """Another schema that one refers to by `name`."""

    name: str
    subject: str
    version: int


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema, as its language writes it; one of Protobuf is a file's descriptor, in base 64."""

    text: str
    references: tuple[Reference, ...] = ()


class Schemas(Protocol):
    """Where schemas are."""

    def numbered(self, number: int) -> Schema:
        """Return a schema by its number; raises Unreadable where there is none of the kind."""
        ...

    def referred(self, reference: Reference) -> Schema:
        """Return a schema that another refers to; raises Unreadable where there is none."""
        ...


def framed(payload: bytes) -> tuple[int, bytes]:
    """Return the number of a payload's schema, and its record: byte 0, four bytes of number, the rest."""
    if len(payload) < 5 or payload[0]:
        begins = f"begins with '{payload[:5].hex(' ')}'" if payload else "is empty"
        raise Unreadable(f"{begins}; expected 00, four bytes with the number of a schema, and a record")
    return int.from_bytes(payload[1:5], "big"), payload[5:]


class Registry:
    """Schemas of one kind, from a registry that speaks Confluent's protocol."""

    def __init__(self, config: SchemaRegistry, kind: Literal["AVRO", "PROTOBUF"], base: Path) -> None:
        self._kind, self._url = kind, config.url
        self._form = "serialized" if kind == "PROTOBUF" else None
        self._missing: dict[int, tuple[float, str]] = {}
        settings = {
            "url": resolve(config.url),
            "timeout": ANSWER,
            "max.retries": TRIES - 1,
            "retries.wait.ms": PAUSE // 4,
            "retries.max.wait.ms": PAUSE,
        }
        if config.user and config.password:
            settings["basic.auth.user.info"] = f"{resolve(config.user)}:{resolve(config.password)}"
        if config.authority:
            settings["ssl.ca.location"] = str(base / config.authority)
        try:
            self._client = SchemaRegistryClient(settings)
        except (ValueError, OSError) as error:
            raise ConfigError(f"the registry's client refuses: {error}", key="source.registry") from None

    def numbered(self, number: int) -> Schema:
        """Return a schema by its number."""
        until, why = self._missing.get(number, (0.0, ""))
        if time.monotonic() < until:
            raise Unreadable(why)
        try:
            found = self._asked(f"schema {number}", lambda: self._client.get_schema(number, fmt=self._form))
        except Unreadable as error:
            if len(self._missing) >= MOST:
                self._missing.clear()
            self._missing[number] = (time.monotonic() + AGAIN, str(error))
            raise
        if (kind := found.schema_type or "AVRO") != self._kind:
            raise Unreadable(
                f"schema {number} is one of {kind}; expected {self._kind}, as source.format says"
            )
        return _schema(found)

    def referred(self, reference: Reference) -> Schema:
        """Return a schema that another refers to."""
        subject, version = reference.subject, reference.version
        found = self._asked(
            f"version {version} of {subject}, which a schema refers to,",
            lambda: self._client.get_version(subject, version, deleted=True, fmt=self._form),
        )
        return _schema(found.schema)

    def _asked(self, what: str, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except httpx.HTTPError as error:
            raise Unavailable(f"the schema registry at {self._url} does not answer: {error}") from error
        except SchemaRegistryError as error:
            if error.error_code in _UNKNOWN:
                raise Unreadable(f"{what} is not in the registry") from None
            said = f"{error.http_status_code} {error.error_message}"
            if error.http_status_code >= 500 or error.http_status_code in _LATER:
                raise Unavailable(f"the schema registry at {self._url} fails: {said}") from error
            raise ConfigError(
                f"the schema registry at {self._url} refuses us: {said}",
                key="source.registry",
                expected="the address that its API begins at, and a user it knows",
            ) from None


def _schema(given: Given) -> Schema:
    """Return what the client gives as what a schema needs to have."""
    references = [Reference(r.name or "", r.subject or "", r.version or 0) for r in given.references or []]
    return Schema(given.schema_str or "", tuple(references))
