"""JSON Schema (draft 2020-12) of the YAML files, for editors to complete and underline from.

In: the models and their docstrings. Out: `configs/schema/*.schema.json`. The loader stays the judge: a
schema cannot say what a cron line is, or that no two channels share a column.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from pipeline.config.models import Alerts, SensorStream, StreamBase, TransactionStream, know_plugins

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Json = dict[str, Any]


def schemas() -> dict[str, Json]:
    """Return each schema by the name of its file."""
    know_plugins()
    return {
        "stream.schema.json": _stream(),
        "defaults.schema.json": _defaults(),
        "alerts.schema.json": _alerts(),
    }


def write_schemas(folder: Path) -> list[Path]:
    """Write every schema into `folder`, making it, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, schema in schemas().items():
        path = folder / name
        path.write_text(as_text(schema), encoding="utf-8")
        paths.append(path)
    return paths


def as_text(schema: Json) -> str:
    """Return a schema as its file holds it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _stream() -> Json:
    definitions = _definitions(SensorStream, TransactionStream)
    for name in ("SensorStream", "TransactionStream"):
        # the file's own name is the stream's; to give it again is allowed, not required
        definitions[name]["required"].remove("name")
    return {
        "$schema": DIALECT,
        "title": "A stream of Offbeat",
        "description": "configs/streams/<name>.yaml: one stream, from its records to its alerts.",
        "type": "object",
        "required": ["kind"],
        "properties": {
            "kind": {"enum": ["sensor", "transaction"], "description": "What a record of this stream is."}
        },
        "if": {"properties": {"kind": {"const": "transaction"}}},
        "then": {"$ref": "#/$defs/TransactionStream"},
        "else": {"$ref": "#/$defs/SensorStream"},
        "$defs": definitions,
    }


def _defaults() -> Json:
    definitions = _definitions(StreamBase, SensorStream, TransactionStream)
    for name, definition in definitions.items():
        if name != "Channel":  # lists are replaced whole, so what is in them must be complete
            definition.pop("required", None)
    for name in ("StreamBase", "SensorStream", "TransactionStream"):
        for own in ("name", "kind"):
            definitions[name]["properties"].pop(own, None)
    sections = {"all": "StreamBase", "sensor": "SensorStream", "transaction": "TransactionStream"}
    return {
        "$schema": DIALECT,
        "title": "Defaults of Offbeat's streams",
        "description": "configs/defaults.yaml: lies beneath every stream; a stream's own file wins.",
        "type": "object",
        "additionalProperties": False,
        "properties": {key: {"$ref": f"#/$defs/{name}"} for key, name in sections.items()},
        "$defs": definitions,
    }


def _alerts() -> Json:
    schema = _clean(Alerts.model_json_schema())
    schema["properties"]["receivers"]["additionalProperties"] = False
    return {"$schema": DIALECT, **schema, "title": "Who Offbeat tells"}


def _definitions(*models: type[BaseModel]) -> Json:
    _, schema = models_json_schema([(m, "validation") for m in models])
    definitions: Json = _clean(schema)["$defs"]
    return definitions


def _clean(schema: Any) -> Any:
    """Drop titles, which repeat the keys, and defaults, which defaults.yaml may have changed."""
    if isinstance(schema, list):
        return [_clean(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _clean(below) for name, below in value.items()} if key in _MAPS else _clean(value)
        for key, value in schema.items()
        if key not in _DROPPED
    }


_MAPS = ("properties", "$defs")  # their keys are names, not words of JSON Schema
_DROPPED = ("title", "default", "discriminator")
