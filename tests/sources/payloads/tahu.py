"""Payloads of Sparkplug B, as a node sends them."""

from __future__ import annotations

from typing import Any

from pipeline.sources.payloads.sparkplug import payload_class

AT = 1_769_949_015_000  # ms
TYPES = {
    "Int8": 1, "Int16": 2, "Int32": 3, "Int64": 4, "UInt8": 5, "UInt16": 6, "UInt32": 7, "UInt64": 8,
    "Float": 9, "Double": 10, "Boolean": 11, "String": 12, "DateTime": 13, "Text": 14,
    "DataSet": 16, "Template": 19,
}  # fmt: skip


def metric(
    name: str | None = None, value: Any = None, kind: str | None = None, **more: Any
) -> dict[str, Any]:
    """Say a metric: by name or `alias`; `kind` is said in the metric unless `typed=False`."""
    return {"name": name, "value": value, "kind": kind, **more}


def payload(*metrics: dict[str, Any], timestamp: int | None = AT, seq: int = 0) -> bytes:
    made: Any = payload_class()(seq=seq)
    if timestamp is not None:
        made.timestamp = timestamp
    for said in metrics:
        one, kind, value = made.metrics.add(), said.pop("kind"), said.pop("value")
        typed = said.pop("typed", True)
        for key, each in said.items():
            if each is not None:
                setattr(one, key, each)
        if typed and kind is not None:
            one.datatype = TYPES[kind]
        if value is not None:
            _set(one, kind or "Double", value)
    return bytes(made.SerializeToString())


def birth(**kinds: str) -> list[dict[str, Any]]:
    """Return metrics of a birth that has no reading yet: name and type, aliases from 1 on."""
    return [metric(n, None, k, alias=i, is_null=True) for i, (n, k) in enumerate(kinds.items(), 1)]


def _set(one: Any, kind: str, value: Any) -> None:
    if kind in ("Int64", "UInt64", "DateTime"):
        one.long_value = value % 2**64
    elif kind.startswith(("Int", "UInt")):
        one.int_value = value % 2**32
    else:
        names = {
            "Float": "float",
            "Boolean": "boolean",
            "String": "string",
            "Text": "string",
            "Template": "template",
        }
        setattr(one, f"{names.get(kind, 'double')}_value", value)
