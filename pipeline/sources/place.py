"""Where files are, as `files` sees it: listed by name, opened, and read at any place.

In: a pattern. Out: what is known of each file without reading it, and open files. `Folder` is one on this
machine, `objects.py` has the other. What is opened stays as it was while it is read, or is `torn`.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline.sources.listing import files


@dataclass(frozen=True, slots=True)
class Stat:
    """What a file is known by without reading it.

    Attributes:
        size: bytes.
        mtime_ns: when it was last written, nanoseconds since 1970.
        inode: of a local file.
        tag: ETag of an object that was opened; it changes with the content.
        fresh: written so lately that another write may show the same time.
    """

    size: int
    mtime_ns: int
    inode: int = 0
    tag: str = ""
    fresh: bool = False

    @classmethod
    def of(cls, stat: os.stat_result) -> Stat:
        """Return what the operating system says of a local file."""
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ino)


class Opened(ABC):
    """An open file."""

    stat: Stat
    remote = False
    """Whether each read is a request over the network."""

    @property
    @abstractmethod
    def file(self) -> BinaryIO:
        """Where readers read on."""

    @abstractmethod
    def at(self, offset: int, size: int) -> bytes:
        """Return bytes from `offset` on, without moving the place of `file`."""

    def torn(self) -> bool:
        """Say whether another took its name while it was read, so that parts of both may have come."""
        return False

    def guard(self) -> AbstractContextManager[None]:
        """Turn what a store says within the block into our errors, so that no answer is no broken file."""
        return nullcontext()

    @abstractmethod
    def close(self) -> None:
        """Close it."""


class Found(ABC):
    """A file that a listing names."""

    @abstractmethod
    def stat(self) -> Stat:
        """Return what is known of it; FileNotFoundError where it is gone by now."""

    @abstractmethod
    def open(self) -> Opened:
        """Open it. FileNotFoundError where it is gone by now, PermissionError where it may not be read."""


class Place(ABC):
    """Where the files of one stream are."""

    @abstractmethod
    def files(self, pattern: str) -> Sequence[tuple[str, Found]]:
        """Return the finished files that match `pattern`, by relative name, in the order of names.

        Raises Unavailable where they cannot be listed now.
        """


class LocalOpened(Opened):
    """An open file of this machine: whoever takes its name leaves it as it is."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.stat = Stat.of(os.fstat(self._file.fileno()))

    @property
    def file(self) -> BinaryIO:
        """The file."""
        return self._file

    def at(self, offset: int, size: int) -> bytes:
        """Return bytes from `offset` on."""
        return os.pread(self._file.fileno(), size, offset)

    def close(self) -> None:
        """Close it."""
        self._file.close()


@dataclass(frozen=True, slots=True)
class LocalFound(Found):
    """A file of this machine."""

    path: Path

    def stat(self) -> Stat:
        """Ask the operating system."""
        return Stat.of(self.path.stat())

    def open(self) -> LocalOpened:
        """Open it."""
        return LocalOpened(self.path)

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class Folder(Place):
    """A folder of this machine."""

    root: Path

    def files(self, pattern: str) -> Sequence[tuple[str, Found]]:
        """List it."""
        return [(name, LocalFound(path)) for name, path in files(self.root, pattern)]
