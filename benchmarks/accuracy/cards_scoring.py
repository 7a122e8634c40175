"""How the Fraud Detection Handbook judges: which transactions, and how right a day's top cards are.

In: its transactions. Out: which of them are judged, and card precision. The protocol is
`get_train_test_set` and `card_precision_top_k` of the handbook's shared functions (Le Borgne et al., 2022).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

TRAIN_DAYS = DELAY_DAYS = JUDGED_DAYS = 7
Floats = NDArray[np.float64]


def judged(cards: pd.DataFrame, since: pd.Timestamp) -> NDArray[np.bool_]:
    """Return which transactions are judged, after a training week that starts at `since` [T].

    The judged week starts a week after the training week ends. A card with a fraud in the training week is
    known, and leaves; so does, from each judged day on, a card with a fraud on the day that came eight
    before: it was found within a week, and its owner told.
    """
    day = (cards["TX_DATETIME"].dt.normalize() - since).dt.days.to_numpy()
    card, fraud = cards["CUSTOMER_ID"].to_numpy(), cards["TX_FRAUD"].to_numpy() == 1
    known = np.unique(card[fraud & (day >= 0) & (day < TRAIN_DAYS)])
    kept = np.zeros(len(cards), bool)
    for today in range(TRAIN_DAYS + DELAY_DAYS, TRAIN_DAYS + DELAY_DAYS + JUDGED_DAYS):
        known = np.union1d(known, card[fraud & (day == today - DELAY_DAYS - 1)])
        kept |= (day == today) & ~np.isin(card, known)
    return kept


def card_precision(cards: pd.DataFrame, score: Floats, top: int = 100, *, found_leave: bool = False) -> float:
    """Return the share of fraudulent cards among each day's `top` cards, averaged over days.

    Args:
        cards: judged transactions: TX_DATETIME, CUSTOMER_ID, TX_FRAUD.
        score: of each [T]; a card's is its highest of the day.
        top: cards that are looked at in a day.
        found_leave: whether a fraudulent card that was among them leaves the days after, as in the handbook's
            own figures. The figure of amount over own mean that we are held to counts it every day.
    """
    frame = cards[["CUSTOMER_ID", "TX_FRAUD"]].assign(score=score, day=cards["TX_DATETIME"].dt.normalize())
    found: set[int] = set()
    shares = []
    for _, today in frame.groupby("day"):
        if found_leave:
            today = today[~today["CUSTOMER_ID"].isin(found)]
        by_card = today.groupby("CUSTOMER_ID")[["score", "TX_FRAUD"]].max()
        hit = by_card.nlargest(top, "score")["TX_FRAUD"] == 1
        found |= set(hit.index[hit])
        shares.append(hit.sum() / top)
    return float(np.mean(shares))
