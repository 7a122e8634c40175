"""Fraud Detection Handbook: card transactions, fit on 11-17 July, judged on 25-31 July 2018.

58,505 transactions are judged, 374 of them frauds (`cards_scoring.judged`). Offbeat is asked twice: without
any label, and with labels that become known after seven days. It is shown what happened since SHOWN_SINCE,
as a card's context and, the second time, as labels: the 37 days before training that the handbook's own
features look back on (a terminal's fraud rate over 30 days, delayed by 7). Published: the handbook's
models, all of which see that rate.

Card precision stands twice: counted every day, as in the figure of amount over own mean that the task without
labels is held to; and as in the handbook's own figures, where a card that was found leaves the days after.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.accuracy import baselines, ours
from benchmarks.accuracy.cards_scoring import card_precision, judged
from benchmarks.accuracy.data import table
from benchmarks.accuracy.work import OURS, Arrays, Done, Figure, Job, Line, Settings, Target, Verdict

NAME, TITLE, READS, ALONE = "handbook", "Fraud handbook, 25-31 July", ("fraud_handbook",), False
NO_LABEL, DELAYED = f"{OURS}, no label", f"{OURS}, labels 7 days late"
AP, AUC, EVERY_DAY, FOUND_LEAVE = (
    "average precision",
    "AUC",
    "card precision@100",
    "card precision@100, found cards leave",
)
TARGETS = (
    Target(AP, 0.30, 0.35, NO_LABEL, against=()),
    Target(EVERY_DAY, 0.165, 0.19, NO_LABEL, against=()),
    Target(AP, 0.60, 0.70, DELAYED),
    Target(FOUND_LEAVE, 0.27, 0.30, DELAYED),
)
PUBLISHED = {
    "autoencoder (handbook)": (0.836, 0.180, 0.217),
    "isolation forest (handbook)": (0.808, 0.164, 0.190),
    "supervised network (handbook)": (0.859, 0.646, 0.280),
    "semi-supervised (handbook)": (0.861, 0.651, 0.276),
}
UNTIL = pd.Timestamp("2018-08-01")
SHOWN_SINCE = pd.Timestamp("2018-06-04")
LEARN_FROM, LEARN_UNTIL = pd.Timestamp("2018-07-11"), pd.Timestamp("2018-07-18")
JUDGED, FRAUDS = 58_505, 374
SERIES = "July 2018"


def jobs(data: Path) -> list[Job]:
    """Return both ways of ours, and amount over own mean."""
    return [Job(NAME, SERIES, method, 1_000_000) for method in (NO_LABEL, DELAYED, baselines.AMOUNT)]


def run(job: Job, settings: Settings) -> Arrays:
    """Score all transactions; keep the judged ones' scores."""
    cards = read(settings.data)
    kept = judged(cards, LEARN_FROM)
    if job.method == baselines.AMOUNT:
        score = baselines.amount_over_mean(cards["CUSTOMER_ID"], cards["TX_CENTS"], unit=100)
        return {"score": score[kept]}
    shown = (cards["TX_DATETIME"] >= SHOWN_SINCE).to_numpy()
    columns = ["TRANSACTION_ID", "TX_DATETIME", "CUSTOMER_ID", "TERMINAL_ID", "TX_CENTS"]
    told = {"label": "TX_FRAUD", "label_delay": timedelta(days=7)} if job.method == DELAYED else {}
    found = ours.detected(
        table(cards[shown], [*columns, *(["TX_FRAUD"] if told else [])]),
        settings,
        kind="transaction",
        time="TX_DATETIME",
        entity="CUSTOMER_ID",
        id="TRANSACTION_ID",
        amount="TX_CENTS",
        categories=("TERMINAL_ID",),
        train_from=LEARN_FROM.date().isoformat(),
        train_until=LEARN_UNTIL.date().isoformat(),
        **told,
    )
    return {name: found[name][kept[shown]] for name in ("score", "flag")}


def judge(data: Path, done: Done) -> Verdict:
    """Compare scores with labels on the judged transactions.

    Raises:
        ValueError: the protocol leaves other transactions than the handbook's.
    """
    cards = read(data)
    cards = cards[judged(cards, LEARN_FROM)].reset_index(drop=True)
    if (len(cards), int(cards["TX_FRAUD"].sum())) != (JUDGED, FRAUDS):
        raise ValueError(f"{len(cards)} transactions, {cards['TX_FRAUD'].sum()} frauds are left")
    lines = [
        Line(method, "published", {AUC: auc, AP: ap, FOUND_LEAVE: share})
        for method, (auc, ap, share) in PUBLISHED.items()
    ]
    figures = []
    for job, arrays in sorted(done.items(), key=lambda pair: pair[0].method):
        score = arrays["score"].astype(np.float64)
        source = "ours" if job.method.startswith(OURS) else "baseline"
        lines.append(Line(job.method, source, measured(cards, score)))  # type: ignore[arg-type]
        for scenario, value in by_scenario(cards, score).items():
            figures.append(Figure("handbook", f"scenario {scenario}", job.method, AP, value))
    return Verdict(lines, figures)


def measured(cards: pd.DataFrame, score: baselines.Floats) -> dict[str, float]:
    """Return all figures of judged transactions."""
    return {
        AUC: float(roc_auc_score(cards["TX_FRAUD"], score)),
        AP: float(average_precision_score(cards["TX_FRAUD"], score)),
        EVERY_DAY: card_precision(cards, score),
        FOUND_LEAVE: card_precision(cards, score, found_leave=True),
    }


def by_scenario(cards: pd.DataFrame, score: baselines.Floats) -> dict[int, float]:
    """Return the average precision of each kind of fraud against what is no fraud."""
    found = {}
    for scenario in (1, 2, 3):
        among = ((cards["TX_FRAUD"] == 0) | (cards["TX_FRAUD_SCENARIO"] == scenario)).to_numpy()
        found[scenario] = float(average_precision_score(cards["TX_FRAUD"][among], score[among]))
    return found


def read(data: Path) -> pd.DataFrame:
    """Return all transactions before the judged week ends, in order of time."""
    cards = pd.read_parquet(data / "fraud_handbook" / "transactions.parquet")
    return cards[cards["TX_DATETIME"] < UNTIL].reset_index(drop=True)
