"""What jobs returned, kept between runs: a killed run goes on where it was.

In: a job and what it returned. Out: one `.npz` a job under `Settings.work`, named after everything the
result depends on: the code that made it, seed, preset and data. Another digest is another file; nothing is
overwritten.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.accuracy.work import OURS, Arrays, Job, Settings, Suite

ROOT = Path(__file__).parents[2]
BENCH = Path(__file__).parent
DETECTING = (
    "pipeline/prepare", "pipeline/models", "pipeline/detect", "pipeline/config", "pipeline/oneshot",
    "pipeline/learning.py", "pipeline/scoring.py", "configs/defaults.yaml",
)  # fmt: skip
"""What a score of ours depends on."""


@cache
def code_digest(paths: tuple[str, ...]) -> str:
    """Return one digest of all Python and YAML files under some paths of the checkout."""
    found: list[Path] = []
    for path in (ROOT / p for p in paths):
        found += [path] if path.is_file() else [f for f in path.rglob("*") if f.suffix in (".py", ".yaml")]
    return _digest(f"{f.relative_to(ROOT)}:{_digest([f.read_bytes()])}".encode() for f in sorted(found))


@cache
def data_digest(data: Path, folders: tuple[str, ...]) -> str:
    """Return one digest of the names and sizes of all files in some folders."""
    files = sorted(f for folder in folders for f in (data / folder).rglob("*") if f.is_file())
    return _digest(f"{f.relative_to(data)}:{f.stat().st_size}".encode() for f in files)


def result_path(job: Job, suite: Suite, settings: Settings) -> Path:
    """Return where a job's result lies, or will."""
    ours = job.method.startswith(OURS)
    module = f"benchmarks/accuracy/{Path(str(getattr(suite, '__file__', ''))).name}"
    code: tuple[str, ...] = (module, "benchmarks/accuracy/data.py", "benchmarks/accuracy/vus.py")
    code += ("benchmarks/accuracy/ours.py", *DETECTING) if ours else ("benchmarks/accuracy/baselines.py",)
    parts = [job.suite, job.series, job.method, code_digest(code), data_digest(settings.data, suite.READS)]
    parts += [settings.preset, str(settings.seed)] if ours else []
    name = re.sub(r"[^A-Za-z0-9]+", "_", f"{job.series}-{job.method}").strip("_")
    return settings.work / job.suite / f"{name}-{_digest(p.encode() for p in parts)[:16]}.npz"


def load(path: Path) -> Arrays | None:
    """Return what a job returned earlier, or None; nothing in it is ever unpickled."""
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as kept:
        return {name: kept[name] for name in kept.files}


def save(path: Path, arrays: Arrays) -> None:
    """Keep what a job returned, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    partial.replace(path)


def _digest(parts: Iterable[bytes]) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
