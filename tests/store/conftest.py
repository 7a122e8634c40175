"""A fresh SQL database for each test: SQLite, and PostgreSQL where its programs are installed."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline.events import Context, Contribution, Event
from pipeline.store import anomalies
from pipeline.store.anomalies import Recorded
from pipeline.store.database import open_database

START = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/nested/offbeat.db"
        return
    server = request.getfixturevalue("postgres_server").url
    schema, admin = f"t{uuid.uuid4().hex}", sa.create_engine(server)
    with admin.begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
    found = sa.make_url(server).update_query_dict({"options": f"-csearch_path={schema}"})
    yield found.render_as_string(hide_password=False)
    with admin.begin() as connection:
        connection.exec_driver_sql(f"DROP SCHEMA {schema} CASCADE")
    admin.dispose()


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    engine = open_database(url)
    yield engine
    engine.dispose()


@pytest.fixture
def at() -> Callable[[float], datetime]:
    """Return a moment so many minutes into the test's day."""
    return lambda minutes: START + timedelta(minutes=minutes)


@pytest.fixture
def event(at: Callable[[float], datetime]) -> Callable[..., Event]:
    """Return an event from minute to minute."""

    def make(
        start: float, end: float, *, goes_on: bool = False, entity: str = "pump-7", **more: Any
    ) -> Event:
        facts: dict[str, Any] = {
            "entity": entity,
            "start": at(start),
            "end": at(end),
            "peak": at(start),
            "peak_score": 2.5,
            "severity": "high",
            "channels": (Contribution("vibration", 0.8, 2.3, 9.1), Contribution("flow", 0.2, None, None)),
            "open": goes_on,
        }
        return Event(**(facts | more))

    return make


@pytest.fixture
def record(engine: sa.Engine, at: Callable[[float], datetime]) -> Callable[..., Recorded]:
    """Record events of stream `pumps`, five minutes of merging, receivers `log` and `ops`."""

    def run(*events: Event, stream: str = "pumps", now: float = 600, **more: Any) -> Recorded:
        context = Context(units={"vibration": "mm/s"}, merge=timedelta(minutes=5), version=3, run="r1")
        known: dict[str, Any] = {"now": at(now), "receivers": ("log", "ops"), "context": context}
        return anomalies.record(engine, stream, events, **(known | more))

    return run
