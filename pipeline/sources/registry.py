"""From `source.type` in a stream's YAML to the class that reads it: ours, or an installed package's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

from pipeline.config import plugins
from pipeline.config.models import MqttSource, Stream
from pipeline.sources.arrivals import Arrivals, Behind
from pipeline.sources.source import Source

OPENERS: Mapping[str, str] = {
    "files": "pipeline.sources.files:FilesSource",
    "sql": "pipeline.sources.sql:SqlSource",
    "kafka": "pipeline.sources.kafka:KafkaSource",
    "mqtt": "pipeline.sources.mqtt:MqttSource",
    "http": "pipeline.sources.http:HttpSource",
}
"""Each a module and its class, imported when a stream needs it: not every client is installed everywhere."""


def open_source(stream: Stream, base: Path) -> Source:
    """Open the stream's source; relative paths in its config are below `base`, the project folder."""
    kind = stream.source.type
    if kind in OPENERS:
        module, _, name = OPENERS[kind].partition(":")
        opener: Callable[..., Source] = getattr(import_module(module), name)
    else:
        opener = plugins.installed()[0][kind]
    return opener(stream, stream.source, base)


def open_arrivals(stream: Stream, base: Path) -> Arrivals:
    """Open what tells of arrivals; relative paths in the config are below `base`."""
    if isinstance(stream.source, MqttSource):
        from pipeline.sources.mqtt_arrivals import MqttArrivals

        return MqttArrivals(stream, stream.source, base)
    return Behind(open_source(stream, base))
