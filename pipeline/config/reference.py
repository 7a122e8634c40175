"""docs/streams.md, written from the models: every key of a stream's YAML, what it means, what it defaults to.

In: the models and their docstrings. Out: Markdown. A test holds the file in the repository against it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline.config.locate import keys_of, peel
from pipeline.config.models import Alerts, SensorStream, TransactionStream, know_plugins

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
    model: type[BaseModel], prefix: str, own: Mapping[str, Any] | None = None, above: tuple[Any, ...] = ()
) -> Iterator[tuple[str, str, str]]:
    own = own or getattr(model, "OWN", {})
    for name, field in keys_of(model).items():
        inner, between, tag = _inner(field)
        key = f"{prefix}{name}"
        if tag:
            members = {_tag(m, tag): m for m in get_args(inner)}
            about = f"{field.description or ''} By `{tag}`: {', '.join(members)}."
            yield key, _default(field), _text(about)
            for word, member in members.items():
                yield from (
                    (k, d, f"{word}: {text}")
                    for k, d, text in _rows(member, f"{key}{between}")
                    if text != word
                )
        elif inner is None or inner in (model, *above):  # routes below routes have the same keys
            default = f"`{_shown(own[name])}`" if name in own else _default(field)
            yield key, default, _text(field.description or "")
        else:
            if between != "." or field.description:
                yield (
                    key,
                    _default(field) if field.is_required() else "",
                    _text(field.description or inner.__doc__ or ""),
                )
            yield from _rows(inner, f"{key}{between}", own.get(name), (*above, model))


def _tag(member: type[BaseModel], name: str) -> str:
    """Return the value that tells one member of a union from the others, as its docstring has it."""
    return f"`{get_args(member.model_fields[name].annotation)[0]}`"


def _inner(field: FieldInfo) -> tuple[Any, str, str]:
    """Return the model a key holds, or many of; what stands between its key and theirs; a union's tag."""
    kind, notes = peel(field.annotation)
    between = {tuple: "[].", dict: ".<name>."}.get(get_origin(kind), ".")
    if between != ".":
        kind, notes = peel(get_args(kind)[-1 if between == ".<name>." else 0])
    tag = field.discriminator or next((n.discriminator for n in notes if isinstance(n, FieldInfo)), None)
    if isinstance(tag, str):
        return kind, between, tag
    plain = isinstance(kind, type) and issubclass(kind, BaseModel) and kind.__name__ != "Rate"
    return (kind if plain else None), between, ""


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
