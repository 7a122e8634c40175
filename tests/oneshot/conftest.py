"""Tables detected in once, with real training, for all tests that look at the outcome."""

import pytest

from pipeline.oneshot import Ask, detect
from tests.oneshot import kit


@pytest.fixture(scope="session")
def one(tmp_path_factory):
    ask = Ask(time="ts", label="label", train_rows=1500, preset="fast")
    return detect(kit.plant(), ask, folder=tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="session")
def many(tmp_path_factory):
    ask = Ask(time="when", entity="machine", preset="fast")
    return detect(kit.messy(), ask, folder=tmp_path_factory.mktemp("many"))


@pytest.fixture(scope="session")
def cards(tmp_path_factory):
    ask = Ask(
        kind="transaction", time="TX_TIME", entity="CARD", id="TX", amount="CENTS", categories=("SHOP",),
        label="FRAUD", train_until="2018-04-16", preset="fast",
    )  # fmt: skip
    return detect(kit.payments(), ask, folder=tmp_path_factory.mktemp("cards"))
