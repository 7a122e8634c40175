"""Onsets: the rows at which something begins, for those who need a moment rather than a span.

In: the joint error of each row alone. Out: a number per row, 0 but where it stands out from what was lately.

A score is high for as long as an anomaly lasts. Who counts rows, as NAB's scoring does, or wants to be called
once, needs the sharp increases alone. Ahmad, Lavin, Purdy and Agha keep only these, too ("Unsupervised
real-time anomaly detection for streaming data", Neurocomputing 262, 2017).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FRESH = 512
"""An onset is higher than every one of so many rows before it."""
HIGHER = 1.001
"""Times: what differs by less is as high."""
LATELY = 4096
"""Rows that say how far errors lately go."""
RARE = 0.995
"""Share of them below what counts as far: one row in two hundred goes further."""
LEAST = 3.0
"""Times its usual value that a joint must reach, however quiet it was lately."""
ENOUGH = 50
"""Rows after which something can be said of them."""

Floats = NDArray[np.float64]


def onsets(joint: Floats) -> NDArray[np.float32]:
    """Return how far each row goes beyond what one row in two hundred lately reached [T]; causal.

    Args:
        joint: of each row alone [T], 1 is usual; NaN in a gap.

    Returns:
        At least 1 where the row goes further, and further than any of the 512 before it; 0 where one of them
        went as far, and in a gap.
    """
    rows = pd.Series(np.nan_to_num(joint.astype(np.float32), nan=0.0))
    before = rows.shift(1)
    highest = before.rolling(FRESH, min_periods=1).max().fillna(0.0)
    known = pd.Series(joint).shift(1).rolling(LATELY, min_periods=ENOUGH).quantile(RARE)
    far = np.fmax(known.to_numpy(), LEAST)
    return np.where(rows > HIGHER * highest, rows / far, 0.0).astype(np.float32)
