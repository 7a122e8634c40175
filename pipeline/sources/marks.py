"""What is remembered of a file: how far it was read, and enough to notice that another took its name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Self

_SAMPLE = 4096  # bytes of the head and of the tail of what was read


@dataclass(frozen=True)
class Entry:
    """One file's part of the position.

    Attributes:
        offset: bytes read (of gzip: unpacked), or rows of a Parquet file.
        line: lines read, where there are lines.
        done: everything the file held when it was last looked at has been read.
        size: of the file when last looked at, like `mtime_ns` and `inode`.
        marked: bytes of the file that `mark` covers.
        mark: digest over the head and the tail of those bytes.
    """

    offset: int = 0
    line: int = 0
    done: bool = False
    size: int = 0
    mtime_ns: int = 0
    inode: int = 0
    marked: int = 0
    mark: str = ""

    @classmethod
    def read(cls, stored: Mapping[str, Any] | None) -> Self:
        """Make an entry from a stored position; a file not read before has an empty one."""
        return cls(**stored) if stored else cls()

    def stored(self) -> dict[str, Any]:
        """Return the JSON-able form; nothing of a file that was never seen."""
        return {} if self == type(self)() else dict(vars(self))

    def untouched(self, stat: os.stat_result) -> bool:
        """Say whether the file is as it was when last looked at."""
        return (stat.st_size, stat.st_mtime_ns, stat.st_ino) == (self.size, self.mtime_ns, self.inode)

    def seen(self, stat: os.stat_result) -> Self:
        """Return the entry with the file's state as of now."""
        return replace(self, size=stat.st_size, mtime_ns=stat.st_mtime_ns, inode=stat.st_ino)

    def sealed(self, file: BinaryIO, covered: int) -> Self:
        """Return the entry with a mark over the file's first `covered` bytes."""
        return replace(self, marked=covered, mark=_digest(file, covered))

    def holds(self, file: BinaryIO, size: int) -> bool:
        """Say whether the file still begins with what was read of it."""
        return size >= self.marked and self.mark in ("", _digest(file, self.marked))


def _digest(file: BinaryIO, covered: int) -> str:
    """Digest head and tail without moving the file's place."""
    sample = min(_SAMPLE, covered)
    head = os.pread(file.fileno(), sample, 0)
    tail = os.pread(file.fileno(), sample, covered - sample)
    return hashlib.blake2b(head + tail, digest_size=12).hexdigest()
