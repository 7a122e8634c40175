"""What is remembered of a file: how far it was read, and enough to notice that another took its name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from pipeline.sources.place import Opened, Stat

_SAMPLE = 4096  # bytes of the head and of the tail of what was read
_OF_OBJECTS = ("tag", "fresh")


@dataclass(frozen=True)
class Entry:
    """One file's part of the position.

    Attributes:
        offset: bytes read (of gzip: unpacked), or rows of a Parquet file.
        line: lines read, where there are lines.
        done: everything the file held when it was last looked at has been read.
        size: of the file when last looked at, like `mtime_ns`, `inode` and `tag`.
        marked: bytes of the file that `mark` covers.
        mark: digest over the head and the tail of those bytes.
        fresh: the object was looked at so soon that it may have been replaced within the second it shows.
    """

    offset: int = 0
    line: int = 0
    done: bool = False
    size: int = 0
    mtime_ns: int = 0
    inode: int = 0
    marked: int = 0
    mark: str = ""
    tag: str = ""
    fresh: bool = False

    @classmethod
    def read(cls, stored: Mapping[str, Any] | None) -> Self:
        """Make an entry from a stored position; a file not read before has an empty one."""
        return cls(**stored) if stored else cls()

    def stored(self) -> dict[str, Any]:
        """Return the JSON-able form; nothing of a file that was never seen."""
        if self == type(self)():
            return {}
        return {name: value for name, value in vars(self).items() if value or name not in _OF_OBJECTS}

    def untouched(self, stat: Stat) -> bool:
        """Say whether the file is as it was when last looked at, as far as can be told by now."""
        known = (stat.size, stat.mtime_ns, stat.inode) == (self.size, self.mtime_ns, self.inode)
        return known and (stat.fresh or not self.fresh)  # its tag is asked for once, when its second is over

    def seen(self, stat: Stat) -> Self:
        """Return the entry with the file's state as of now."""
        return replace(
            self, size=stat.size, mtime_ns=stat.mtime_ns, inode=stat.inode, tag=stat.tag, fresh=stat.fresh
        )

    def sealed(self, file: Opened, covered: int) -> Self:
        """Return the entry with a mark over the file's first `covered` bytes."""
        if self.tag and self.marked == covered:  # over the same bytes of the same object
            return self
        return replace(self, marked=covered, mark=_digest(file, covered))

    def same(self, stat: Stat) -> bool:
        """Say whether a tag tells that the content is what it was when last looked at."""
        return bool(self.tag) and self.tag == stat.tag

    def holds(self, file: Opened) -> bool:
        """Say whether the file still begins with what was read of it."""
        if self.same(file.stat):
            return True
        if self.tag and file.stat.size <= self.size:  # objects are replaced whole, and only grow by that
            return False
        return file.stat.size >= self.marked and (not self.mark or self.mark == _digest(file, self.marked))


def _digest(file: Opened, covered: int) -> str:
    """Digest head and tail without moving the file's place."""
    sample = min(_SAMPLE, covered)
    head, tail = file.at(0, sample), file.at(covered - sample, sample)
    return hashlib.blake2b(head + tail, digest_size=12).hexdigest()
