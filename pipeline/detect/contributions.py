"""Which channels made a row's score, as the Arrow column of the scores table.

In: shares, expected and actual values per row and channel. Out: one list per row, largest share first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.schemas import CONTRIBUTION


def contributions(
    share: NDArray[np.floating[Any]],
    expected: NDArray[np.floating[Any]],
    actual: NDArray[np.floating[Any]],
    channels: Sequence[str],
    top: int = 3,
) -> pa.Array:
    """Return list<CONTRIBUTION> [T]: the `top` largest shares of each row, null for a row in a gap.

    Args:
        share: of the joint error [T, C], NaN where there is none.
        expected: in the channels' own units [T, C]; NaN becomes null.
        actual: likewise [T, C].
        channels: names [C].
        top: how many at most; channels without an error of their own are left out.
    """
    chosen = largest(share, top)
    rows = np.broadcast_to(np.arange(len(share))[:, None], chosen.shape)
    real = np.take_along_axis(share, chosen, axis=1) > 0
    row, channel = rows[real], chosen[real]
    lengths = real.sum(axis=1)
    items = pa.StructArray.from_arrays(
        [
            pa.array(channels, pa.string()).take(pa.array(channel)),
            pa.array(share[row, channel], pa.float32()),
            pa.array(expected[row, channel], pa.float64(), from_pandas=True),
            pa.array(actual[row, channel], pa.float64(), from_pandas=True),
        ],
        fields=list(CONTRIBUTION),
    )
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, items, pa.list_(CONTRIBUTION), mask=pa.array(lengths == 0))


def largest(share: NDArray[np.floating[Any]], top: int) -> NDArray[np.int64]:
    """Return the columns of each row's largest shares, largest first [T, min(top, C)]; ties: the first."""
    left = np.where(np.isnan(share), -1, share)  # below any share; what was chosen, below that
    chosen = np.empty((len(share), min(top, share.shape[1])), np.int64)
    for place in range(chosen.shape[1]):
        chosen[:, place] = left.argmax(axis=1)
        left[np.arange(len(left)), chosen[:, place]] = -2
    return chosen
