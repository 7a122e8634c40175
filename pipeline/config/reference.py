"""docs/streams.md, written from the models: every key of a stream's YAML, what it means, what it defaults to.

In: the models and their docstrings. Out: Markdown. A test holds the file in the repository against it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline.config.models import Alerts, Channel, SensorStream, TransactionStream, know_plugins

HEAD = """# Every key of a stream

Written from the code by `make schema`; do not edit. A stream is `configs/streams/<name>.yaml`;
`configs/defaults.yaml` lies beneath it, and what the file says wins. Durations are `90s`, `5m`, `1h`,
`7d`, `2w`; rates are `1/week`, `20/day`; schedules are a duration, a cron line in UTC, or `never`.
Unknown keys, duplicate keys and aliases are errors: `offbeat check` says file, line and key of each.
*Required* keys have no default; what `configs/defaults.yaml` ships may differ from the code's defaults
shown here.
"""
TABLE = "| key | default | meaning |\n| --- | --- | --- |"
SECTIONS = (
    ("Sensor streams", SensorStream, "Channels measured over time, for one or many machines."),
    (
        "Transaction streams",
        TransactionStream,
        "Payments or orders, in the history of a card, account or seller.",
    ),
    ("Alerts", Alerts, "`configs/alerts.yaml`: who is told, and how hard we try."),
)


def reference() -> str:
    """Return docs/streams.md."""
    know_plugins()
    parts = [HEAD]
    for title, model, about in SECTIONS:
        rows = "\n".join(f"| `{key}` | {default} | {text} |" for key, default, text in _rows(model, ""))
        parts.append(f"## {title}\n\n{about}\n\n{TABLE}\n{rows}\n")
    return "\n".join(parts)


def _rows(
    model: type[BaseModel], prefix: str, own: Mapping[str, Any] | None = None
) -> Iterator[tuple[str, str, str]]:
    own = own or getattr(model, "OWN", {})
    for name, field in model.model_fields.items():
        inner = _inner(field)
        key = f"{prefix}{name}"
        if field.discriminator:
            members = {_tag(m, str(field.discriminator)): m for m in get_args(field.annotation)}
            yield (
                key,
                _default(field),
                _text(f"{field.description or ''} By `{field.discriminator}`: {', '.join(members)}."),
            )
            for tag, member in members.items():
                yield from (
                    (k, d, f"{tag}: {text}") for k, d, text in _rows(member, f"{key}.") if text != tag
                )
        elif inner is None:
            default = f"`{_shown(own[name])}`" if name in own else _default(field)
            yield key, default, _text(field.description or "")
        else:
            many = inner is Channel
            if many or field.description:
                yield (
                    key,
                    _default(field) if field.is_required() else "",
                    _text(field.description or inner.__doc__ or ""),
                )
            yield from _rows(inner, f"{key}[]." if many else f"{key}.", own.get(name))


def _tag(member: type[BaseModel], name: str) -> str:
    """Return the value that tells one member of a union from the others, as its docstring has it."""
    return f"`{get_args(member.model_fields[name].annotation)[0]}`"


def _inner(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model a key holds, or holds a list of."""
    if field.annotation is not None and "Channel" in str(field.annotation):
        return Channel
    kind: Any = field.annotation
    if isinstance(kind, UnionType) and len(may := get_args(kind)) == 2 and may[1] is NoneType:
        kind = may[0]  # a section that may be left out
    plain = isinstance(kind, type) and issubclass(kind, BaseModel) and kind.__name__ != "Rate"
    return kind if plain else None


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value in ("", ()) or value is PydanticUndefined or isinstance(value, dict):
        return ""
    return f"`{_shown(value)}`"


def _shown(value: Any) -> str:
    from pipeline.config.models import format_duration

    if hasattr(value, "total_seconds"):
        return format_duration(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _text(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
