"""What was received over HTTP and waits to be ingested: files of lines, in a folder of the stream's own.

In: lines. Out: files that the source `http` reads as `files` does. A line that `append` returned for is on
the disk. A file is written by one process, for an hour or up to 64 MiB; one that was read to its end and is
no longer written to is deleted.
"""

from __future__ import annotations

import os
import secrets
from datetime import datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import Any

from pipeline import clock
from pipeline.config.models import HttpSource, Stream
from pipeline.config.secrets import resolve

SPAN, MOST = timedelta(hours=1), 64 << 20
_NAME = "%Y%m%dT%H%M%S.%f"


def folder(stream: Stream, config: HttpSource, base: Path) -> Path:
    """Return where what a stream receives waits."""
    said = resolve(config.folder, secret=False) if config.folder else f"received/{stream.name}"
    return base / Path(said).expanduser()


class Inbox:
    """Writes lines of one stream; of one process, one thread at a time."""

    def __init__(self, where: Path) -> None:
        self.where = where
        self._file: FileIO | None = None
        self._ends = clock.now()

    def append(self, lines: bytes) -> None:
        """Write whole lines, and return when they are on the disk (OSError where they cannot be)."""
        file = self._current()
        begin = file.tell()
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(begin)  # what was not acknowledged is not kept half
            file.seek(begin)
            raise

    def waiting(self) -> int:
        """Return how many bytes there are, read or not."""
        return sum(path.stat().st_size for path in self.where.glob("*.jsonl"))

    def close(self) -> None:
        """Close the file; the next line begins another."""
        if self._file:
            self._file.close()
            self._file = None

    def _current(self) -> FileIO:
        now = clock.now()
        if self._file and (now >= self._ends or self._file.tell() >= MOST):
            self.close()
        if self._file is None:
            self.where.mkdir(parents=True, exist_ok=True)
            self._ends = now + SPAN
            name = f"{now:{_NAME}}-{secrets.token_hex(4)}.jsonl"  # no two processes share a file
            self._file = (self.where / name).open("xb", buffering=0)
            _sync(self.where)
        return self._file


def tidy(where: Path, read: dict[str, Any]) -> None:
    """Delete files that were read to their end and are no longer written to; `read` is bytes by name."""
    for name, bytes_read in read.items():
        path = where / name
        try:
            began = datetime.strptime(name.partition("-")[0], _NAME).replace(tzinfo=clock.now().tzinfo)
            if clock.now() - began > 2 * SPAN and path.stat().st_size == bytes_read:
                path.unlink()
        except (ValueError, OSError):
            continue  # not one of ours, or gone already


def _sync(where: Path) -> None:
    """Make sure that a new file's name is on the disk too."""
    handle = os.open(where, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
