"""Sparkplug B: metrics of nodes and their devices, named by the births that come before the data.

A birth (NBIRTH, DBIRTH) says each metric's name, type and alias, and its value; data (NDATA, DDATA) may say
the alias alone. What births said is remembered in the source's position, so that it is there after any
restart, in the same commit as the records before it. Metrics of one time are one record; a metric's own time
wins over the payload's, so that a history which is sent later has its own times. Deaths and commands are
passed over.

The messages' fields and numbers are those of the public specification, Sparkplug 3.0, chapter 6.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]

from pipeline import log
from pipeline.config.models import Stream
from pipeline.sources.payloads.flat import number
from pipeline.sources.payloads.payload import Found, Memory, Unreadable
from pipeline.sources.wanted import wanted

NAMESPACE = "spBv1.0"
BIRTHS, DATA = ("NBIRTH", "DBIRTH"), ("NDATA", "DDATA")
PASSED_OVER = ("NDEATH", "DDEATH", "NCMD", "DCMD", "STATE")
TIME, DEVICE = "$timestamp", "$device"
MOST = 100_000  # metrics that are remembered: the position is written with every commit
COMPRESSED = "SPBV1.0_COMPRESSED"

_SIGNED = {1: 8, 2: 16, 3: 32, 4: 64}  # bits of Int8 to Int64, by the number of the type
_KIND = descriptor_pb2.FieldDescriptorProto
_PAYLOAD = (
    ("timestamp", 1, _KIND.TYPE_UINT64),
    ("seq", 3, _KIND.TYPE_UINT64),
    ("uuid", 4, _KIND.TYPE_STRING),
    ("body", 5, _KIND.TYPE_BYTES),
)
_METRIC = (
    ("name", 1, _KIND.TYPE_STRING),
    ("alias", 2, _KIND.TYPE_UINT64),
    ("timestamp", 3, _KIND.TYPE_UINT64),
    ("datatype", 4, _KIND.TYPE_UINT32),
    ("is_historical", 5, _KIND.TYPE_BOOL),
    ("is_transient", 6, _KIND.TYPE_BOOL),
    ("is_null", 7, _KIND.TYPE_BOOL),
)
_VALUE = (
    ("int_value", 10, _KIND.TYPE_UINT32),
    ("long_value", 11, _KIND.TYPE_UINT64),
    ("float_value", 12, _KIND.TYPE_FLOAT),
    ("double_value", 13, _KIND.TYPE_DOUBLE),
    ("boolean_value", 14, _KIND.TYPE_BOOL),
    ("string_value", 15, _KIND.TYPE_STRING),
    # what no column can hold is not looked into
    ("bytes_value", 16, _KIND.TYPE_BYTES),
    ("dataset_value", 17, _KIND.TYPE_BYTES),
    ("template_value", 18, _KIND.TYPE_BYTES),
)

Table = Mapping[str, Any]
"""What a birth said: name → [type, alias]; null where it did not say."""


@cache
def payload_class() -> type[Message]:
    """Return the message that every payload is."""
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug_b.proto", package="sparkplug", syntax="proto2")
    payload, metric = file.message_type.add(name="Payload"), file.message_type.add(name="Metric")
    for message, fields in ((payload, _PAYLOAD), (metric, _METRIC)):
        for name, at, kind in fields:
            message.field.add(name=name, number=at, type=kind, label=_KIND.LABEL_OPTIONAL)
    payload.field.add(
        name="metrics", number=2, type=_KIND.TYPE_MESSAGE, type_name=".sparkplug.Metric",
        label=_KIND.LABEL_REPEATED,
    )  # fmt: skip
    metric.oneof_decl.add(name="value")
    for name, at, kind in _VALUE:
        metric.field.add(name=name, number=at, type=kind, label=_KIND.LABEL_OPTIONAL, oneof_index=0)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made: type[Message] = message_factory.GetMessageClass(pool.FindMessageTypeByName("sparkplug.Payload"))
    return made


def decoder(stream: Stream, base: Path) -> Sparkplug:
    """Return what reads a stream's payloads."""
    return Sparkplug([w.column for w in wanted(stream) if not w.column.startswith("$")])


class Sparkplug:
    """Reads payloads into the metrics a stream wants."""

    def __init__(self, columns: Iterable[str]) -> None:
        self._columns = frozenset(columns)
        self._names: dict[
            str, tuple[Table, dict[int, str]]
        ] = {}  # by device: names by alias, and whose they are

    def __call__(self, source: str, payload: bytes, memory: Memory) -> Iterable[Found]:
        """Return a record for each time of a payload that has a metric the stream wants."""
        kind, node, device = _place(source)
        if kind in PASSED_OVER:
            return []
        message = _parsed(payload)
        if kind in BIRTHS:
            _remember(memory, node, device, _table(message))
        table = memory.get(node, {}).get(device)
        records = self._records(message, table, f"{node}/{device}".rstrip("/"))
        found = [record for record in records if not self._columns.isdisjoint(record)]
        if kind in BIRTHS and not found:
            names = ", ".join(list(table or ())[:12])
            log.get().warning("no metric of a birth is a column of the stream", topic=source, metrics=names)
        return found

    def _records(self, message: Any, table: Table | None, who: str) -> Iterable[Found]:
        records: dict[int | None, Found] = {}
        sent = message.timestamp if message.HasField("timestamp") else None
        for metric in message.metrics:
            name = self._name(metric, table, who)
            when = metric.timestamp if metric.HasField("timestamp") else sent
            record = records.setdefault(when, {TIME: when, DEVICE: who.partition("/")[2]})
            record[name] = _value(metric, name, table, who)
        return records.values()

    def _name(self, metric: Any, table: Table | None, who: str) -> str:
        if metric.name:
            return str(metric.name)
        if not metric.HasField("alias"):
            raise Unreadable("a metric has neither a name nor an alias")
        name = self._aliases(table, who).get(metric.alias) if table is not None else None
        if name is None:
            raise Unreadable(f"alias {metric.alias} of {who!r} is unknown: {_no_birth(table)}")
        return name

    def _aliases(self, table: Table, who: str) -> dict[int, str]:
        """Return a birth's names by alias, made anew only for another birth."""
        known = self._names.get(who)
        if known is None or known[0] is not table:
            names = {alias: name for name, (_, alias) in table.items() if alias is not None}
            known = self._names[who] = (table, names)
        return known[1]


def _place(topic: str) -> tuple[str, str, str]:
    """Return a message's type, its node (`group/node`), and its device; none where it is the node's own."""
    levels = topic.split("/")
    if levels[0] == NAMESPACE and levels[1:2] == ["STATE"]:
        return "STATE", "", ""
    kind = levels[2] if len(levels) in (4, 5) and levels[0] == NAMESPACE else ""
    if kind not in (*BIRTHS, *DATA, *PASSED_OVER) or (len(levels) == 5) != kind.startswith("D"):
        expected = f"{NAMESPACE}/<group>/NDATA/<node>, or {NAMESPACE}/<group>/DDATA/<node>/<device>"
        raise Unreadable(f"{topic[:200]!r} is no topic of Sparkplug B; expected {expected}")
    return kind, f"{levels[1]}/{levels[3]}", levels[4] if len(levels) == 5 else ""


def _parsed(payload: bytes) -> Any:
    try:
        message: Any = payload_class().FromString(payload)
    except (DecodeError, ValueError) as error:
        raise Unreadable(f"not a payload of Sparkplug B: {error}"[:200]) from None
    if message.uuid == COMPRESSED:
        raise Unreadable("a compressed payload; expected metrics as they are")
    return message


def _table(birth: Any) -> Table:
    return {
        metric.name: [
            metric.datatype if metric.HasField("datatype") else None,
            metric.alias if metric.HasField("alias") else None,
        ]
        for metric in birth.metrics
        if metric.name
    }


def _remember(memory: Memory, node: str, device: str, table: Table) -> None:
    """Put a birth into memory; that of a node ends what its devices said before."""
    before = memory.get(node, {})
    after = {**before, device: table} if device else {device: table}
    others = sum(len(t) for name, devices in memory.items() if name != node for t in devices.values())
    if others + sum(map(len, after.values())) > MOST:
        raise Unreadable(f"more than {MOST:,} metrics in the births of one stream; narrow source.topics")
    memory[node] = after


def _value(metric: Any, name: str, table: Table | None, who: str) -> Any:
    kind = metric.WhichOneof("value")
    if metric.is_null or kind is None:
        return None
    value = getattr(metric, kind)
    if kind in ("int_value", "long_value"):
        return _whole(value, _type(metric, name, table, who))
    if kind in ("float_value", "double_value"):
        return number(value)
    if kind == "boolean_value":
        return int(value)
    return value if kind == "string_value" else f"a {kind.removesuffix('_value')}"


def _type(metric: Any, name: str, table: Table | None, who: str) -> int:
    """Return the number of a metric's type: its own, or what its birth said."""
    known = metric.datatype if metric.HasField("datatype") else ((table or {}).get(name) or [None])[0]
    if known is None:
        raise Unreadable(f"the type of {name!r} of {who!r} is unknown: {_no_birth(table)}")
    return int(known)


def _whole(value: int, kind: int) -> int:
    """Return an integer with its sign: a negative one is written as its two's complement."""
    bits = _SIGNED.get(kind)
    if bits is None:
        return value
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _no_birth(table: Table | None) -> str:
    was = "no birth of it was read yet" if table is None else "its newest birth does not say it"
    return f"{was}; ask the node for a rebirth, then replay"
