"""`offbeat detect` with labels that become known later, and with what cards did before training."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from pipeline.oneshot import Ask, detect

START, DAYS = 1_770_000_000, 60
"""2 February 2026."""


def payments():
    """Forty cards in twenty shops for sixty days; two shops go bad after twenty of them."""
    rng, count = np.random.default_rng(0), 3000
    second = np.sort(rng.integers(0, DAYS * 86400, count))
    shop = rng.integers(0, 20, count)
    bad = (shop < 2) & (second > 20 * 86400)
    when = pa.array((START + second) * 1_000_000, pa.int64()).cast(pa.timestamp("us"))
    return pa.table(
        {
            "when": when,
            "card": [f"c{i}" for i in rng.integers(0, 40, count)],
            "eur": np.round(rng.lognormal(3, 0.4, count), 2),
            "shop": [f"s{i}" for i in shop],
            "bad": bad,
        }
    )


def ask(**more):
    return Ask(
        kind="transaction",
        time="when",
        entity="card",
        amount="eur",
        categories=("shop",),
        preset="fast",
        train_from="2026-02-26",
        train_until="2026-03-20",
        **more,
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    told = ask(label="bad", label_delay=timedelta(days=3))
    return detect(payments(), told, folder=tmp_path_factory.mktemp("told"))


def test_labels_that_became_known_find_a_shop_gone_bad(found):
    table = payments()
    late = table["when"].cast("int64").to_numpy() > (START + 50 * 86400) * 1e6
    score, bad = found.scores["score"].to_numpy(), table["bad"].to_numpy(zero_copy_only=False)
    top = np.argsort(-score[late])[: bad[late].sum()]
    assert bad[late][top].mean() > 0.9
    assert np.isfinite(score).all()


def test_a_label_without_a_delay_only_judges(tmp_path):
    table = payments()
    judged = detect(table, ask(label="bad"), folder=tmp_path / "judged")
    blind = detect(table, ask(), folder=tmp_path / "blind")
    assert judged.scores["score"].to_pylist() == blind.scores["score"].to_pylist()
    assert judged.stream.fields.label is None
