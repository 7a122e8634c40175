"""The trivial baselines: what anyone could write in a minute, and has to be beaten.

In: raw values of one series [T, C] and how many rows may be learned from. Out: squared errors [T, C], and one
score a row: their mean over channels. No smoothing and no calibration: those are ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.accuracy.work import LAST, PCA, ZSCORE
from pipeline.detect.baselines import PcaReconstruction, last_value, moving_zscore

AMOUNT, FOREST = "amount over own mean", "isolation forest"

Floats = NDArray[np.float64]


def errors(method: str, raw: Floats, train_rows: int) -> Floats:
    """Return squared errors in units of the training rows' spread [T, C]; 0 where there is none.

    Raises:
        KeyError: no such baseline.
    """
    scaled = standardised(raw, train_rows)
    if method == PCA:
        found = PcaReconstruction().fit([scaled[:train_rows]]).errors(scaled)
    else:
        found = {ZSCORE: moving_zscore, LAST: last_value}[method](scaled)
    return np.nan_to_num(found.astype(np.float64), nan=0.0)


def standardised(raw: Floats, train_rows: int) -> Floats:
    """Centre and scale by the training rows; a channel that was constant there by the median spread."""
    known = raw[:train_rows]
    spread = np.nanstd(known, axis=0)
    moving = spread > 1e-9
    usual = float(np.median(spread[moving])) if moving.any() else 1.0
    scaled: Floats = (raw - np.nanmean(known, axis=0)) / np.where(moving, spread, usual)
    return scaled


def threshold(score: Floats, train_rows: int) -> float:
    """Return 4/3 of the 99 % quantile of the training rows' scores: what SKAB's notebooks set for theirs."""
    return float(np.quantile(score[:train_rows], 0.99) * 4 / 3)


def top_channels(found: Floats, names: list[str], most: int = 3) -> NDArray[np.str_]:
    """Return the names of the channels with the largest errors at each row [T, most]."""
    order = np.argsort(-found, axis=1, kind="stable")[:, :most]
    return np.array(names)[order]


def amount_over_mean(card: Any, amount: Any, unit: float) -> Floats:
    """Return each amount over the mean of the card's earlier ones plus one `unit`; 1 for a card's first.

    Args:
        card: whose it is, in order of time [T].
        amount: how much [T].
        unit: what keeps a tiny mean from making everything look large.
    """
    frame = pd.DataFrame({"card": np.asarray(card), "amount": np.asarray(amount, np.float64)})
    groups = frame.groupby("card", observed=True)["amount"]
    count = groups.cumcount()
    before = (groups.cumsum() - frame["amount"]) / count.clip(lower=1)
    return (frame["amount"] / (before + unit)).where(count > 0, 1.0).to_numpy(np.float64)
