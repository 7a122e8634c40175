"""Which files of a folder are there to be read: no half-written ones, nothing outside the folder."""

from __future__ import annotations

import stat
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
        home = root.resolve()
        return sorted((str(p.relative_to(root)), p) for p in root.glob(pattern) if _takable(p, root, home))
    except OSError as error:
        raise Unavailable(f"{root}: {error.strerror or error}") from error


def _takable(path: Path, root: Path, home: Path) -> bool:
    if any(part.startswith(".") for part in path.relative_to(root).parts):
        return False
    if path.name.lower().endswith(UNFINISHED):
        return False
    try:
        real = path.resolve(strict=True)
        regular = stat.S_ISREG(real.stat().st_mode)
    except (OSError, RuntimeError):  # gone, or a loop of links
        return False
    if regular and not real.is_relative_to(home):
        log.get().warning("file refused", file=str(path), why="a link that leads out of the source's folder")
        return False
    return regular


def kind(name: str, configured: Kind | Literal["auto"]) -> Kind | None:
    """Return the format of a file: as configured, or by its name; None where the name tells of none."""
    if configured != "auto":
        return configured
    return _KINDS.get(Path(name.lower().removesuffix(".gz")).suffix)
