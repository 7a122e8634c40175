"""Source `http`: what `offbeat receive` took and wrote to the stream's inbox. Position: as of `files`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.config.models import FilesSource as FilesConfig
from pipeline.config.models import HttpSource as Config
from pipeline.config.models import Stream
from pipeline.sources.files import FilesSource
from pipeline.sources.inbox import SPAN, folder, tidy
from pipeline.sources.source import Batch


class HttpSource(FilesSource):
    """Reads the inbox of one stream, and empties it of what is stored."""

    keeps = "the inbox keeps what was received for some hours: only that was read again"

    def __init__(self, stream: Stream, config: Config, base: Path) -> None:
        self.root = where = folder(stream, config, base)
        # a line without an end is still being written, or its writer was killed and had not promised it
        super().__init__(stream, FilesConfig(path=str(where), pattern="*.jsonl", settle=2 * SPAN), base)

    def read(self, position: Mapping[str, Any], limit: int) -> Batch:
        """Return at most `limit` records that follow `position`; none where nothing was ever received."""
        self.root.mkdir(parents=True, exist_ok=True)
        return super().read(position, limit)

    def behind(self, position: Mapping[str, Any]) -> int:
        """Return how many bytes wait to be read."""
        return super().behind(position) if self.root.is_dir() else 0

    def stored(self, position: Mapping[str, Any]) -> None:
        """Delete what has been read and is no longer written to."""
        tidy(self.root, {name: entry["offset"] for name, entry in position["files"].items()})
