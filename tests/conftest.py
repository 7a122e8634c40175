"""Servers that tests share, each started once a session where its programs are installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services.kafka import Broker, kafka
from tests.services.mosquitto import Mosquitto
from tests.services.mosquitto import mosquitto as running
from tests.services.postgres import Postgres, postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[Broker]:
    with kafka() as broker:
        yield broker


@pytest.fixture(scope="session")
def mosquitto() -> Iterator[Mosquitto]:
    with running() as broker:
        yield broker
