"""Promises of the payment detector: scale-free, causal, budgeted, helped by labels, not in need of them."""

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from pipeline.detect import PaymentDetector, Payments, joint
from pipeline.errors import BundleError, DataError, NotEnoughData

DAY = 86_400_000_000
COLUMNS = ("own", "spread", "pace", "same", "others terminal")
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
    columns = [own, own, rng.gamma(2, 1, count), np.zeros(count), rng.exponential(1, count)]
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


def test_what_was_odd_is_remembered_for_a_while_and_by_its_own_entity():
    rows, *_ = history()
    detector = fitted(rows)
    first = np.flatnonzero(rows.entity == 3)[40]
    amount = rows.amount.copy()
    amount[first] = rows.evidence[first, 0] * 8
    raised = detector.score(replace(rows, amount=amount)).score > detector.score(rows).score
    after = (rows.entity == 3) & (rows.time > rows.time[first])
    late = after & (rows.time > rows.time[first] + detector.memory // timedelta(microseconds=1))
    assert raised[after][:8].all()
    assert not raised[late | (rows.entity != 3)].any()
    assert raised.sum() <= 1 + joint.ROWS


def test_a_memory_of_the_wildest_payments_stays_finite_and_bounded():
    own, time = np.full(100, 1e6), np.arange(100) * 1_000_000
    memory = joint.remembered(own, np.zeros(100, np.int64), time)
    assert memory[0] < 0.001
    assert (memory <= joint.MOST_MEMORY).all()
    assert memory[1:].min() > joint.MOST_MEMORY - 2


def test_an_ordinary_payment_is_no_alarm_for_the_frauds_before_it():
    rows, *_ = history()
    detector, amount = fitted(rows), rows.amount.copy()
    mine = np.flatnonzero(rows.entity == 3)[40:60]
    amount[mine[:6]] = rows.evidence[mine[:6], 0] * 8
    amount[mine[6:]] = rows.evidence[mine[6:], 0] * np.where(np.arange(14) % 2, 1.0, 2.2)
    flag = detector.score(replace(rows, amount=amount)).flag
    assert flag[mine[:6]].all()
    assert flag[mine[6::2]].mean() > 0.5
    assert not flag[mine[7::2]].any()


def test_ordinary_payments_are_hardly_remembered():
    rows, *_ = history()
    detector = fitted(rows)
    nats = detector.curves_["own"](np.abs(rows.amount - rows.evidence[:, 0]) / rows.evidence[:, 1])
    assert np.quantile(joint.remembered(nats, rows.entity, rows.time), 0.9) < 3


def test_pace_or_amount_is_reason_enough():
    quiet = {"own": np.zeros(1), "all": np.zeros(1), "pace": np.zeros(1)}
    nothing = {"others terminal": np.zeros(1)}

    def score(**nats):
        found = {**quiet, **{name: np.array([value]) for name, value in nats.items()}}
        found["pace"] = joint.hasty(found["pace"], np.zeros(1))
        return float(joint.together(found, nothing, 0.0)[0])

    hasty, large = score(pace=4.0), score(own=9.0)
    assert min(hasty, large) > score(pace=2.0, own=3.0)
    assert score(pace=30.0) == hasty
    assert score(own=9.0, all=9.0) > large
    assert score(pace=4.0, own=9.0) > large


def test_a_haste_of_the_same_amount_again_is_less_odd():
    rows, *_ = history()
    detector, evidence = fitted(rows), rows.evidence.copy()
    evidence[50, 2] = 20.0
    once = detector.score(replace(rows, evidence=evidence)).score[50]
    evidence[50, 3] = 0.9
    assert detector.score(replace(rows, evidence=evidence)).score[50] < 0.6 * once


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


def test_no_hour_is_odd_where_hardly_a_day_was_learned_from():
    rows, *_ = history()
    hours = replace(rows, time=rows.time // 60)
    detector = PaymentDetector(COLUMNS, ("terminal",))
    detector.fit(hours, since=DAY // 2, per_second=60 / 86400, merge_us=10_000_000)
    errors = rows.errors.copy()
    errors[60, 2] = 1e4
    odd = replace(hours, errors=errors)
    np.testing.assert_array_equal(detector.score(odd).score, detector.score(hours).score)
    assert fitted(rows).score(replace(rows, errors=errors)).score[60] > fitted(rows).score(rows).score[60]


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
