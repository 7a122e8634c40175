"""Windows and config put into a folder by one process and taken up by another, as .npy and JSON.

In: a model config and window sources. Out: a work folder; and the same things read back, memory-mapped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.models import Model as ModelConfig
from pipeline.errors import NotEnoughData
from pipeline.models.windows import ArrayWindows, WindowSource

_CHUNK = 1 << 22  # cells gathered at a time: 32 MiB of values and mask


def put(work: Path, config: ModelConfig, **sources: WindowSource) -> None:
    """Write a config and named window sources into `work`, never holding more than a chunk in memory.

    Raises:
        NotEnoughData: If a source is empty.
    """
    (work / "config.json").write_text(config.model_dump_json())
    for name, source in sources.items():
        if not len(source):
            raise NotEnoughData(f"no {name} windows: more history, a shorter window or less holdout")
        folder = work / name
        folder.mkdir()
        windows = source if isinstance(source, ArrayWindows) else _materialise(source, folder)
        for part in ("values", "mask", "starts"):
            if not (folder / f"{part}.npy").exists():
                np.save(folder / f"{part}.npy", getattr(windows, part), allow_pickle=False)
        np.save(folder / "length.npy", np.int64(windows.length), allow_pickle=False)


def config(work: Path) -> ModelConfig:
    """Read the config back."""
    return ModelConfig.model_validate_json((work / "config.json").read_bytes())


def windows(work: Path, name: str) -> ArrayWindows:
    """Read a window source back; its rows stay on disk until gathered."""
    folder = work / name
    return ArrayWindows(
        _load(folder, "values"),
        _load(folder, "mask"),
        _load(folder, "starts"),
        int(np.load(folder / "length.npy")),
    )


def _load(folder: Path, part: str) -> Any:
    return np.load(folder / f"{part}.npy", mmap_mode="r", allow_pickle=False)


def _materialise(source: WindowSource, folder: Path) -> ArrayWindows:
    length, features = source.gather(np.zeros(1, np.int64))[0].shape[1:]
    rows = (len(source) * length, features)
    values = np.lib.format.open_memmap(folder / "values.npy", "w+", np.float32, rows)
    mask = np.lib.format.open_memmap(folder / "mask.npy", "w+", np.bool_, rows)
    size = max(1, _CHUNK // (length * features))
    for first in range(0, len(source), size):
        idx = np.arange(first, min(first + size, len(source)))
        part = slice(first * length, (first + len(idx)) * length)
        seen = source.gather(idx)
        values[part], mask[part] = seen[0].reshape(-1, features), seen[1].reshape(-1, features) > 0
    return ArrayWindows(values, mask, np.arange(len(source)) * length, length)
