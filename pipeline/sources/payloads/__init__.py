"""What a message may hold. In: the bytes of a payload. Out: JSON objects, or why it is none.

A format is one module here and one line in `FORMATS`. Formats that name their own columns give them flat:
a record inside a record is `outer.inner`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

from pipeline.config.models import KafkaSource, MqttSource, Stream
from pipeline.errors import ConfigError
from pipeline.sources.payloads.payload import Decoder, Found, Memory, Unread, Unreadable, packed, unpacked

__all__ = ["FORMATS", "Decoder", "Found", "Memory", "Unread", "Unreadable", "decoder", "packed", "unpacked"]

FORMATS: Mapping[str, str] = {
    "avro": "pipeline.sources.payloads.avro:decoder",
    "protobuf": "pipeline.sources.payloads.protobuf:decoder",
    "csv": "pipeline.sources.payloads.csv_lines:decoder",
    "sparkplug": "pipeline.sources.payloads.sparkplug:decoder",
}
"""Each a module and its function, imported when a stream needs it: not every library is there everywhere."""


def decoder(stream: Stream, base: Path) -> Decoder | None:
    """Return what reads the payloads of a stream's messages; None where they are JSON objects already.

    Relative paths in the source's config are below `base`, the project folder.

    Raises:
        ConfigError: a library is not installed, or the format's settings do not fit the stream.
    """
    if not isinstance(stream.source, KafkaSource | MqttSource) or stream.source.format == "json":
        return None
    module, _, name = FORMATS[stream.source.format].partition(":")
    try:
        made: Callable[[Stream, Path], Decoder] = getattr(import_module(module), name)
    except ImportError as error:  # pragma: no cover - an extra
        raise ConfigError(
            f"source.format {stream.source.format} needs {error.name}, which is not installed",
            hint=f"pip install 'offbeat[{stream.source.type}]'",
        ) from None
    return made(stream, base)
