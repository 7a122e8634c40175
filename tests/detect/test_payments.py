"""Promises of the payment detector: scale-free, causal, budgeted, helped by labels, not in need of them."""

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from pipeline.detect import PaymentDetector, Payments
from pipeline.errors import BundleError, DataError, NotEnoughData

DAY = 86_400_000_000
COLUMNS = ("own", "spread", "recent", "others terminal")
TOLD = (*COLUMNS, "known entity 7", "fraud entity 7", "known terminal 7", "fraud terminal 7")
CARDS, EACH = 100, 120


def history(seed=0, unit=1.0, frauds=0.0, labels=False):
    """Payments of 100 cards over 60 days; frauds are five times the usual amount, or at a bad terminal."""
    rng = np.random.default_rng(seed)
    count = CARDS * EACH
    entity = np.repeat(np.arange(CARDS), EACH)
    time = np.sort(rng.integers(0, 60 * DAY, (CARDS, EACH)), axis=1).ravel()
    own = np.repeat(rng.uniform(20, 100, CARDS), EACH)
    amount = np.abs(rng.normal(own, own / 3))
    loud, quiet = rng.random(count) < frauds, rng.random(count) < (frauds if labels else 0)
    amount[loud] *= 5
    errors = rng.normal(size=(count, 4)) ** 2
    columns = [own, own, rng.beta(2, 8, count), rng.exponential(1, count)]
    if labels:
        known = rng.poisson(6, count).astype(float)
        bad = np.where(quiet, np.minimum(known, rng.poisson(5, count)), 0.0)
        columns += [known, np.zeros(count), known, bad]
    evidence = np.column_stack(columns)
    evidence[:, :2] *= unit
    label = (loud | quiet).astype(float) if labels else None
    foreseen = own * unit * rng.normal(1, 0.1, count)
    return Payments(entity, time, errors, amount * unit, foreseen, evidence, label), loud, quiet


def fitted(rows, columns=COLUMNS, **more):
    made = PaymentDetector(columns, ("terminal",))
    return made.fit(rows, since=30 * DAY, per_second=1 / 86400, merge_us=600_000_000, **more)


def precision(score, found):
    order = np.argsort(-score)[: found.sum()]
    return found[order].mean()


def test_the_same_scores_in_cents_and_in_euros():
    euros, *_ = history(frauds=0.01)
    cents, *_ = history(frauds=0.01, unit=100)
    one, two = fitted(euros), fitted(cents)
    np.testing.assert_allclose(one.score(euros).score, two.score(cents).score, rtol=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.04])
def test_frauds_in_the_history_do_not_hide_frauds(share):
    spoiled, *_ = history(seed=1, frauds=share)
    rows, loud, _ = history(seed=2, frauds=0.01)
    assert precision(fitted(spoiled).score(rows).score, loud) > 0.6


@pytest.mark.parametrize("share", [0.0, 0.005])
def test_the_alert_budget_is_kept_and_frauds_do_not_raise_it_beyond_their_reach(share):
    spoiled, *_ = history(seed=3, frauds=share)
    detector = fitted(spoiled)
    rows, loud, _ = history(seed=4, frauds=0.005)
    flag = detector.score(rows).flag
    assert (flag & ~loud).sum() / 60 < 2
    assert flag[loud].mean() > 0.25


def test_a_row_depends_on_no_later_row_and_on_no_other_entity():
    rows, *_ = history(frauds=0.01)
    detector = fitted(rows)
    whole = detector.score(rows).score
    for card in (0, 7):
        mine = rows.entity == card
        alone = Payments(**{k: None if v is None else v[mine] for k, v in vars(rows).items()})
        np.testing.assert_array_equal(detector.score(alone).score, whole[mine])
        early = Payments(**{k: None if v is None else v[mine][:50] for k, v in vars(rows).items()})
        np.testing.assert_array_equal(detector.score(early).score, whole[mine][:50])


def test_a_slice_with_its_memory_equals_the_whole():
    rows, *_ = history(frauds=0.02)
    detector = fitted(rows)
    whole = detector.score(rows).score
    start = 40 * DAY
    near = rows.time >= start - detector.memory // timedelta(microseconds=1)
    part = Payments(**{k: None if v is None else v[near] for k, v in vars(rows).items()})
    np.testing.assert_array_equal(detector.score(part).score[part.time >= start], whole[rows.time >= start])


def test_the_models_foresight_is_trusted_where_it_is_better():
    rows, *_ = history()
    clever = replace(rows, foreseen=rows.amount * 1.05)
    assert fitted(clever).trust_ >= 0.8
    silly = replace(rows, foreseen=rows.amount * 9 + 100)
    assert fitted(silly).trust_ <= 0.1


def test_payments_after_a_surprise_surprise_more():
    rows, *_ = history()
    detector = fitted(rows)
    amount = rows.amount.copy()
    second, first = np.flatnonzero(rows.entity == 3)[[41, 40]]
    amount[second] = rows.evidence[second, 0] * 2.5
    once = detector.score(replace(rows, amount=amount)).score[second]
    amount[first] = rows.evidence[first, 0] * 8
    assert detector.score(replace(rows, amount=amount)).score[second] > once


def test_labels_raise_what_resembles_confirmed_fraud():
    rows, *_ = history(seed=5, frauds=0.01, labels=True)
    later, loud_later, quiet_later = history(seed=6, frauds=0.01, labels=True)
    plain = fitted(rows, TOLD)
    told = fitted(rows, TOLD, known_until=50 * DAY)
    assert plain.confirmed_ is None
    assert told.confirmed_ is not None
    assert precision(plain.score(later).score, quiet_later) < 0.1
    assert precision(told.score(later).score, loud_later | quiet_later) > 0.7


def test_no_label_that_was_not_known_in_training_is_looked_at():
    rows, *_ = history(seed=5, frauds=0.01, labels=True)
    turned = replace(rows, label=np.where(rows.time >= 50 * DAY, 1 - rows.label, rows.label))
    one, two = (fitted(r, TOLD, known_until=50 * DAY) for r in (rows, turned))
    assert one.to_dict() == two.to_dict()


def test_scores_need_no_labels():
    rows, *_ = history(seed=5, frauds=0.01, labels=True)
    told = fitted(rows, TOLD, known_until=50 * DAY)
    blind = replace(rows, label=None)
    np.testing.assert_array_equal(told.score(rows).score, told.score(blind).score)


def test_a_handful_of_labels_changes_nothing():
    rows, *_ = history(seed=5, frauds=0.01, labels=True)
    few = np.full(len(rows), np.nan)
    few[:60], few[0] = 0, 1
    assert fitted(replace(rows, label=few), TOLD, known_until=50 * DAY).confirmed_ is None


def test_every_row_gets_a_finite_score_and_shares_that_add_up():
    rows, *_ = history(frauds=0.01)
    detector = fitted(rows)
    rng = np.random.default_rng(0)
    amount, errors = rows.amount.copy(), rows.errors.copy()
    amount[rng.random(len(rows)) < 0.2] = np.nan
    amount[:4] = [1e75, -1e75, 0, 1e-75]
    errors[rng.random(errors.shape) < 0.2] = np.nan
    errors[:2] = np.inf, 0, 1, 2
    foreseen = np.where(rng.random(len(rows)) < 0.2, np.nan, rows.foreseen)
    scored = detector.score(replace(rows, amount=amount, errors=errors, foreseen=foreseen))
    assert np.isfinite(scored.score).all()
    np.testing.assert_allclose(scored.share.sum(axis=1), 1, rtol=1e-5)


def test_the_share_names_the_channel_that_was_odd():
    rows, *_ = history()
    detector = fitted(rows)
    amount, errors = rows.amount.copy(), rows.errors.copy()
    amount[50] = rows.evidence[50, 0] * 20
    errors[60, 2] = 1e4
    share = detector.score(replace(rows, amount=amount, errors=errors)).share
    assert share[50].argmax() == 0
    assert share[60].argmax() == 2


def test_it_comes_back_from_json_with_the_same_scores():
    rows, *_ = history(seed=5, frauds=0.01, labels=True)
    for made in (fitted(rows, TOLD, known_until=50 * DAY), fitted(rows, TOLD)):
        again = PaymentDetector.from_dict(json.loads(json.dumps(made.to_dict(), allow_nan=False)))
        np.testing.assert_array_equal(again.score(rows).score, made.score(rows).score)
        assert again.to_dict() == made.to_dict()


def test_a_damaged_detector_is_refused():
    rows, *_ = history(seed=5, frauds=0.01, labels=True)
    saved = fitted(rows, TOLD, known_until=50 * DAY).to_dict()
    for key, damage in (
        ("format", 2),
        ("trust", 2.0),
        ("trust", "x"),
        ("base", float("nan")),
        ("curves", {}),
        ("outlying", {}),
        ("outlying", None),
        ("threshold", {}),
        ("confirmed", {"knots": [], "center": [], "weights": []}),
        ("confirmed", {**saved["confirmed"], "weights": [float("inf")] * len(saved["confirmed"]["weights"])}),
    ):
        with pytest.raises(BundleError):
            PaymentDetector.from_dict({**saved, key: damage})
    with pytest.raises(BundleError):
        PaymentDetector.from_dict({k: v for k, v in saved.items() if k != "curves"})


def test_other_evidence_and_too_little_history_are_refused():
    rows, *_ = history()
    with pytest.raises(DataError):
        fitted(rows).score(replace(rows, evidence=rows.evidence[:, :3]))
    with pytest.raises(NotEnoughData):
        PaymentDetector(COLUMNS, ("terminal",)).fit(
            rows, since=61 * DAY, per_second=1 / 86400, merge_us=600_000_000
        )
