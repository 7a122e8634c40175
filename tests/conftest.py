"""Servers that tests share, each started once a session where its programs are installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services.kafka import Broker
from tests.services.mosquitto import Mosquitto
from tests.services.postgres import Postgres
from tests.services.programs import running
from tests.services.registry import Registry
from tests.services.s3 import S3


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    with running(Postgres) as server:
        yield server


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[Broker]:
    with running(Broker) as broker:
        yield broker


@pytest.fixture(scope="session")
def mosquitto() -> Iterator[Mosquitto]:
    with running(Mosquitto) as broker:
        yield broker


@pytest.fixture(scope="session")
def schema_registry() -> Iterator[Registry]:
    with running(Registry) as registry:
        yield registry


@pytest.fixture(scope="session")
def s3_store() -> Iterator[S3]:
    with running(S3) as store:
        yield store


@pytest.fixture
def s3(s3_store: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """Return a store that AWS's environment variables lead to."""
    for name, value in s3_store.environment.items():
        monkeypatch.setenv(name, value)
    return s3_store
