"""The handbook's protocol leaves the handbook's transactions, and cards are counted as it counts them."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.accuracy import baselines, handbook
from benchmarks.accuracy.cards_scoring import card_precision, judged

SINCE = pd.Timestamp("2018-07-11")


def cards(*rows):
    frame = pd.DataFrame(rows, columns=["day", "CUSTOMER_ID", "TX_FRAUD", "score"])
    return frame.assign(TX_DATETIME=SINCE + pd.to_timedelta(frame["day"], unit="D"))


def precision(frame, **kwargs):
    return card_precision(frame, frame["score"].to_numpy(float), **kwargs)


def test_a_card_counts_once_a_day_by_its_highest_score():
    day = cards((0, 1, 1, 0.9), (0, 1, 0, 0.1), (0, 2, 0, 0.8), (0, 3, 1, 0.1), (0, 3, 0, 0.7))
    assert precision(day, top=1) == 1
    assert precision(day, top=2) == 0.5
    assert precision(day, top=3) == pytest.approx(2 / 3)


def test_days_are_averaged_and_few_cards_do_not_help():
    two = cards((0, 1, 1, 0.9), (0, 2, 0, 0.8), (1, 1, 0, 0.9), (1, 2, 0, 0.8))
    assert precision(two, top=2) == 0.25
    assert precision(cards((0, 1, 1, 0.9)), top=100) == 0.01


def test_a_card_that_was_found_leaves_the_days_after_only_if_asked():
    again = cards((0, 1, 1, 0.9), (0, 2, 0, 0.1), (1, 1, 1, 0.9), (1, 2, 1, 0.1))
    assert precision(again, top=1) == 1
    assert precision(again, top=1, found_leave=True) == 1
    once = cards((0, 1, 1, 0.9), (0, 2, 0, 0.1), (1, 1, 1, 0.9), (1, 2, 0, 0.1))
    assert precision(once, top=1) == 1
    assert precision(once, top=1, found_leave=True) == 0.5


def test_a_fraudulent_card_below_the_top_stays():
    low = cards((0, 1, 1, 0.1), (0, 2, 0, 0.9), (1, 1, 1, 0.9), (1, 2, 0, 0.1))
    assert precision(low, top=1, found_leave=True) == 0.5


def test_cards_known_to_be_stolen_leave_the_judged_days():
    stolen_in_training, stolen_in_delay, clean = 1, 2, 3
    frame = cards(
        (3, stolen_in_training, 1, 0), (14, stolen_in_training, 0, 0),
        (8, stolen_in_delay, 1, 0), (15, stolen_in_delay, 0, 0), (16, stolen_in_delay, 0, 0),
        (20, stolen_in_delay, 0, 0),
        (13, clean, 0, 0), (14, clean, 0, 0), (20, clean, 1, 0), (21, clean, 0, 0),
    )  # fmt: skip
    kept = frame[judged(frame, SINCE)]
    assert list(zip(kept["day"], kept["CUSTOMER_ID"], strict=True)) == [
        (15, stolen_in_delay), (14, clean), (20, clean),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def real(data):
    return handbook.read(data)


def test_the_handbooks_transactions_are_left(real):
    kept = real[judged(real, handbook.LEARN_FROM)]
    assert len(kept) == 58_505
    assert kept["TX_FRAUD"].sum() == 374
    assert kept["TX_FRAUD_SCENARIO"].value_counts().to_dict() == {0: 58_131, 1: 28, 2: 241, 3: 105}
    assert str(kept["TX_DATETIME"].min().date()) == "2018-07-25"
    assert str(kept["TX_DATETIME"].max().date()) == "2018-07-31"


def test_amount_over_own_mean_scores_what_is_published(real):
    kept = judged(real, handbook.LEARN_FROM)
    score = baselines.amount_over_mean(real["CUSTOMER_ID"], real["TX_CENTS"], unit=100)[kept]
    found = handbook.measured(real[kept], score)
    assert round(found[handbook.AUC], 3) == 0.661
    assert round(found[handbook.AP], 3) == 0.271
    assert round(found[handbook.EVERY_DAY], 3) == 0.151


def test_no_method_of_ours_is_told_more_than_it_says(real, data, monkeypatch):
    asked = {}

    def detected(table, settings, **kwargs):
        asked[kwargs.get("label")] = (table, kwargs)
        return {"score": np.zeros(table.num_rows), "flag": np.zeros(table.num_rows, bool)}

    monkeypatch.setattr(handbook.ours, "detected", detected)
    settings = type("S", (), {"data": data})
    for job in handbook.jobs(data):
        scores = handbook.run(job, settings)["score"]
        assert len(scores) == 58_505
    table, without = asked[None]
    assert not [c for c in table.column_names if "FRAUD" in c]
    assert "label_delay" not in without
    assert (without["train_from"], without["train_until"]) == ("2018-07-11", "2018-07-18")
    table, told = asked["TX_FRAUD"]
    assert "TX_FRAUD_SCENARIO" not in table.column_names
    assert told["label_delay"].days == 7
