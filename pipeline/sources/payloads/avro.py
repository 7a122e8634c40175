"""Avro: each message is read by the schema it was written with.

Schemas may change from message to message. A field that a message was not written with is missing, whatever
default a later schema has for it: a default is no reading.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
from fastavro.schema import SchemaParseException, UnknownType, parse_schema

from pipeline.config.models import KafkaSource, Stream
from pipeline.sources.payloads.flat import Flat
from pipeline.sources.payloads.payload import Found, Memory, Unreadable
from pipeline.sources.payloads.schemas import Registry, Schema, Schemas, framed

# what fastavro says of bytes that another schema wrote, and of a schema that is none
_WRONG = (EOFError, ValueError, LookupError, TypeError, ArithmeticError, RecursionError, MemoryError)
_NO_SCHEMA = (SchemaParseException, UnknownType, ValueError, LookupError, TypeError, AttributeError)


def decoder(stream: Stream, base: Path) -> Avro:
    """Return what reads a stream's payloads."""
    assert isinstance(stream.source, KafkaSource)
    assert stream.source.registry is not None
    return Avro(stream, Registry(stream.source.registry, "AVRO", base))


class Avro:
    """Reads framed records."""

    def __init__(self, stream: Stream, schemas: Schemas) -> None:
        self._flat, self._schemas = Flat(stream), schemas
        self._parsed: dict[int, Any] = {}  # by number, which means one schema for ever

    def __call__(self, source: str, payload: bytes, memory: Memory) -> Iterable[Found]:
        """Return the one record."""
        number, body = framed(payload)
        schema = self._parsed.get(number) or self._parse(number)
        stream = BytesIO(body)
        try:
            record = fastavro.schemaless_reader(stream, schema, None)
        except _WRONG as error:
            raise Unreadable(f"not a record of schema {number}: {_said(error)}") from None
        if rest := len(body) - stream.tell():
            raise Unreadable(f"not a record of schema {number}: {rest} of {len(body)} bytes are left over")
        if not isinstance(record, dict):
            raise Unreadable(
                f"schema {number} is of values of type {type(record).__name__}; expected records"
            )
        return [self._flat(record)]

    def _parse(self, number: int) -> Any:
        schema = self._schemas.numbered(number)
        try:
            parsed = self._with_references(schema, {})
        except _NO_SCHEMA as error:
            raise Unreadable(f"schema {number} cannot be read: {_said(error)}") from None
        self._parsed[number] = parsed
        return parsed

    def _with_references(self, schema: Schema, known: dict[str, Any]) -> Any:
        for reference in schema.references:
            self._with_references(self._schemas.referred(reference), known)
        return parse_schema(json.loads(schema.text), named_schemas=known)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:160]
