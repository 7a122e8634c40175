"""Where the labelled data lies, and its tables.

In: a folder, or OFFBEAT_DATA, or `../shared/data` beside the checkout. Out: Arrow tables and labels.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]


def data_folder(given: Path | None = None) -> Path:
    """Return the folder of labelled data.

    Raises:
        FileNotFoundError: it is not there; says what to set.
    """
    folder = given or Path(os.environ.get("OFFBEAT_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "tsb_ad").is_dir():
        raise FileNotFoundError(f"{folder} holds no labelled data: set OFFBEAT_DATA, or give --data")
    return folder


def values(frame: pd.DataFrame, channels: list[str]) -> NDArray[np.float64]:
    """Return channels as an array [T, C]."""
    return frame[channels].to_numpy(np.float64)


def table(frame: pd.DataFrame, columns: list[str]) -> pa.Table:
    """Return columns as an Arrow table without pandas' index."""
    return pa.Table.from_pandas(frame[columns].reset_index(drop=True), preserve_index=False)


def spells(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the first and last row of every run of ones."""
    edges = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    first, last = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    return list(zip(first.tolist(), last.tolist(), strict=True))
