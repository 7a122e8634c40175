"""From `source.type` in a stream's YAML to the class that reads it. A new source is one file and one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.config.models import Stream
from pipeline.sources.files import FilesSource
from pipeline.sources.source import Source

OPENERS: Mapping[str, Callable[[Stream, Path], Source]] = {
    "files": FilesSource,
}


def open_source(stream: Stream, base: Path) -> Source:
    """Open the stream's source; relative paths in its config are below `base`, the project folder."""
    return OPENERS[stream.source.type](stream, base)
