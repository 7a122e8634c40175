"""Which files are there to be read: of a pattern, no half-written ones, nothing outside their folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Literal

from pipeline import log
from pipeline.errors import Unavailable

Kind = Literal["csv", "jsonl", "parquet"]
UNFINISHED = (
    ".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload", ".download", ".inprogress", ".writing",
    ".swp", ".swx", ".lock", ".bak", "~",
)  # fmt: skip
_KINDS: dict[str, Kind] = {
    ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet",
    ".pq": "parquet",
}  # fmt: skip


def files(root: Path, pattern: str) -> list[tuple[str, Path]]:
    """Return the files below `root` that match `pattern`, by relative name, in the order of names.

    Hidden and unfinished files are left out, and so are links that lead out of `root`; the latter are
    logged. Raises Unavailable where the folder itself cannot be read.
    """
    try:
        if not root.is_dir():
            raise Unavailable(f"{root}: no such folder")
        home, inside = root.resolve(), cache(Path.resolve)
        found = ((str(p.relative_to(root)), p) for p in root.glob(pattern))
        return sorted((n, p) for n, p in found if finished(n) and _takable(p, home, inside))
    except OSError as error:
        raise Unavailable(f"{root}: {error.strerror or error}") from error


def finished(name: str) -> bool:
    """Say whether a name is neither hidden nor that of a file that is being written."""
    hidden = name.startswith(".") or f"{os.sep}." in name
    return not hidden and not name.lower().endswith(UNFINISHED)


def _takable(path: Path, home: Path, resolved: Callable[[Path], Path]) -> bool:
    """Say whether a path is a regular file inside `home`, wherever links lead."""
    try:
        mode = path.lstat().st_mode
        link = stat.S_ISLNK(mode)
        real = path.resolve(strict=True) if link else resolved(path.parent)
        regular = stat.S_ISREG(real.stat().st_mode if link else mode)
    except (OSError, RuntimeError):  # gone, or a loop of links
        return False
    if regular and not real.is_relative_to(home):
        log.get().warning("file refused", file=str(path), why="a link that leads out of the source's folder")
        return False
    return regular


def fits(name: str, pattern: str) -> bool:
    """Say whether a relative name matches a glob, in which `**` stands for any number of folders."""
    return _fit(name.split("/"), pattern.split("/"))


def _fit(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(_fit(parts[i:], patterns[1:]) for i in range(len(parts)))
    return bool(parts) and fnmatchcase(parts[0], patterns[0]) and _fit(parts[1:], patterns[1:])


def plain_part(pattern: str) -> str:
    """Return the folders that a glob begins with and that stand for themselves."""
    folders = pattern.split("/")[:-1]
    return "/".join(takewhile(lambda folder: not set(folder) & set("*?["), folders))


def kind(name: str, configured: Kind | Literal["auto"]) -> Kind | None:
    """Return the format of a file: as configured, or by its name; None where the name tells of none."""
    if configured != "auto":
        return configured
    return _KINDS.get(Path(name.lower().removesuffix(".gz")).suffix)
