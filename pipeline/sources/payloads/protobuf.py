"""Protocol Buffers, by descriptors from the registry: no generated code, whatever the message.

A field that has no presence (`double a = 1;` in proto3) and was not written is 0, as the language says; one
that has (`optional`, `oneof`, a message) is missing. A number behind the schema's says which of its messages
it is. Timestamps, durations and wrappers become the value they stand for.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import confluent_kafka.schema_registry.protobuf  # noqa: F401 - brings google/type and confluent's own types
from google.protobuf import (  # type: ignore[import-untyped]
    descriptor_pb2,
    descriptor_pool,
    json_format,
    message_factory,
)
from google.protobuf.descriptor import Descriptor, FieldDescriptor  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]

from pipeline.config.models import KafkaSource, Stream
from pipeline.errors import ConfigError
from pipeline.sources.payloads.flat import Flat
from pipeline.sources.payloads.payload import Found, Memory, Unreadable
from pipeline.sources.payloads.schemas import Registry, Schema, Schemas, framed

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KNOWN = "google.protobuf."
_DEEPEST = 16  # messages within messages


def decoder(stream: Stream, base: Path) -> Protobuf:
    """Return what reads a stream's payloads."""
    assert isinstance(stream.source, KafkaSource)
    assert stream.source.registry is not None
    return Protobuf(stream, Registry(stream.source.registry, "PROTOBUF", base))


class Protobuf:
    """Reads framed messages."""

    def __init__(self, stream: Stream, schemas: Schemas) -> None:
        self._flat, self._schemas = Flat(stream), schemas
        self._files: dict[int, tuple[descriptor_pool.DescriptorPool, str]] = {}
        self._classes: dict[tuple[int, tuple[int, ...]], type[Message]] = {}

    def __call__(self, source: str, payload: bytes, memory: Memory) -> Iterable[Found]:
        """Return the one record."""
        number, rest = framed(payload)
        path, body = _path(rest)
        made = self._classes.get((number, path)) or self._class(number, path)
        message = made()
        try:
            message.ParseFromString(body)
            return [self._flat(_read(message))]
        except (DecodeError, ValueError, OverflowError, RecursionError) as error:
            raise Unreadable(f"not a {made.DESCRIPTOR.full_name} of schema {number}: {error}"[:200]) from None

    def _class(self, number: int, path: tuple[int, ...]) -> type[Message]:
        if number not in self._files:
            self._files[number] = self._file(number)
        pool, name = self._files[number]
        within: Any = pool.FindFileByName(name)
        messages = list(within.message_types_by_name.values())
        for at in path:
            if not 0 <= at < len(messages):
                raise Unreadable(f"schema {number} has no message {list(path)}; its file has {len(messages)}")
            within = messages[at]
            messages = within.nested_types
        made: type[Message] = message_factory.GetMessageClass(within)
        self._classes[number, path] = made
        return made

    def _file(self, number: int) -> tuple[descriptor_pool.DescriptorPool, str]:
        pool, name = descriptor_pool.DescriptorPool(), f"schema-{number}.proto"
        try:
            self._add(pool, name, self._schemas.numbered(number), set())
            pool.FindFileByName(name)
        except (TypeError, KeyError, RecursionError) as error:  # what the pool says of files that do not fit
            raise Unreadable(f"schema {number} cannot be read: {error}"[:200]) from None
        return pool, name

    def _add(self, pool: descriptor_pool.DescriptorPool, name: str, schema: Schema, added: set[str]) -> None:
        """Add a schema's file to a pool, those that it imports first."""
        file = _described(name, schema)
        references = {r.name: r for r in schema.references}
        for wanted in file.dependency:
            if wanted in added:
                continue
            added.add(wanted)
            if reference := references.get(wanted):
                self._add(pool, wanted, self._schemas.referred(reference), added)
            else:
                _add_known(pool, wanted, added)
        pool.Add(file)


def _add_known(pool: descriptor_pool.DescriptorPool, name: str, added: set[str]) -> None:
    """Add a file that every compiler knows: google/protobuf/timestamp.proto and the like."""
    known = descriptor_pool.Default().FindFileByName(name)
    for wanted in known.dependencies:
        if wanted.name not in added:
            added.add(wanted.name)
            _add_known(pool, wanted.name, added)
    pool.AddSerializedFile(known.serialized_pb)


def _described(name: str, schema: Schema) -> descriptor_pb2.FileDescriptorProto:
    try:
        file = descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(schema.text, validate=True))
    except (binascii.Error, DecodeError, ValueError):
        raise ConfigError(
            "the schema registry gives schemas of Protobuf as text",
            key="source.registry",
            expected="one that gives them compiled (`format=serialized`), as Confluent's does",
        ) from None
    file.name = name
    return file


def _path(rest: bytes) -> tuple[tuple[int, ...], bytes]:
    """Return which message of a file it is, outermost first, and its bytes; a lone 0 is the first."""
    count, at = _zigzag(rest, 0)
    if not 0 <= count <= _DEEPEST:
        raise Unreadable(f"{count} numbers of messages after the schema's; expected at most {_DEEPEST}")
    path = []
    for _ in range(count):
        number, at = _zigzag(rest, at)
        path.append(number)
    return tuple(path) or (0,), rest[at:]


def _zigzag(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 35:
        if at >= len(data):
            raise Unreadable("ends before the record begins; expected the number of a message, and a record")
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return (value >> 1) ^ -(value & 1), at
    raise Unreadable("the number of a message has no end")


def _read(message: Message) -> dict[str, Any]:
    """Return a message's fields, each as its value; those with presence that were not set are left out."""
    found = {}
    for field in message.DESCRIPTOR.fields:
        if field.is_repeated or not field.has_presence:
            found[field.name] = _field(field, getattr(message, field.name))
        elif message.HasField(field.name):
            found[field.name] = _value(field, getattr(message, field.name))
    return found


def _field(field: FieldDescriptor, value: Any) -> Any:
    if not field.is_repeated:
        return _value(field, value)
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        return {str(key): _value(entry.fields_by_name["value"], value[key]) for key in value}
    return [_value(field, each) for each in value]


def _value(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is not None:
        return _within(field.message_type, value)
    if field.enum_type is not None:
        named = field.enum_type.values_by_number.get(value)
        return named.name if named else value
    return value


def _within(kind: Descriptor, value: Any) -> Any:
    name = kind.full_name
    if name == f"{_KNOWN}Timestamp":
        return _EPOCH + timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)
    if name == f"{_KNOWN}Duration":
        return value.seconds + value.nanos / 1e9
    if name.startswith(_KNOWN):
        if name.endswith("Value") and len(kind.fields) == 1:  # a wrapper: DoubleValue and the like
            return value.value
        return json_format.MessageToDict(value, preserving_proto_field_name=True)
    return _read(value)
