"""Tables: late commits, equal times, types of databases, and what is said of a table that is none."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline.config.models import SensorStream, Stream, TransactionStream
from pipeline.errors import ConfigError, DataError, Unavailable
from pipeline.sources import open_source
from tests.services.postgres import Postgres
from tests.sources.kit import drain

START = datetime(2026, 2, 1, tzinfo=UTC)


@pytest.fixture
def engine(postgres_server: Postgres) -> sa.Engine:
    return sa.create_engine(postgres_server.url, poolclass=sa.NullPool)


@pytest.fixture
def table(engine: sa.Engine) -> str:
    name = f"readings_{uuid.uuid4().hex[:8]}"
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"CREATE TABLE {name} (id bigserial, time timestamptz, written timestamptz DEFAULT now(),"
            " machine text, a double precision, b numeric)"
        )
    return name


@pytest.fixture
def stream(postgres_server: Postgres, table: str) -> Callable[..., Stream]:
    def made(**source: Any) -> Stream:
        said = {"type": "sql", "url": postgres_server.url, "table": table, "cursor": "id", **source}
        fields = {"entity": "machine", "channels": [{"name": "a"}, {"name": "b"}]}
        body = {"name": "pumps", "kind": "sensor", "source": said, "fields": fields}
        return SensorStream.model_validate(body, strict=False)

    return made


def insert(connection: sa.Connection, table: str, *values: int, written: str = "now()") -> None:
    for value in values:
        connection.exec_driver_sql(
            f"INSERT INTO {table} (time, machine, a, b, written) VALUES (%s, 'p1', %s, 0.5, {written})",
            (START + timedelta(seconds=value), value),
        )


def read(stream: Stream, position: Any = None, limit: int = 1000) -> tuple[list[float], Any]:
    found = drain(stream, limit, json.loads(json.dumps(position or {})))
    return [r["a"] for r in found.rows], found.position


@pytest.mark.parametrize(("cursor", "lookback"), [("id", 100), ("written", "5m")])
@pytest.mark.parametrize("limit", [3, 1000])
def test_a_transaction_that_commits_late_loses_no_row(
    engine: sa.Engine, table: str, stream: Callable[..., Stream], cursor: str, lookback: Any, limit: int
) -> None:
    """Its serial numbers, and its time, are older than those of rows that were read before it committed."""
    asked = stream(cursor=cursor, lookback=lookback)
    with engine.connect() as slow, engine.connect() as quick:
        insert(slow, table, 1, 2)
        insert(quick, table, 3, 4, 5, 6, 7)
        quick.commit()
        first, position = read(asked, limit=limit)
        slow.commit()
        insert(quick, table, 8)
        quick.commit()
    second, position = read(asked, position, limit)
    assert (first, sorted(second)) == ([3, 4, 5, 6, 7], [1, 2, 8])
    assert read(asked, position, limit) == ([], position)


def test_without_a_lookback_what_commits_late_is_lost_as_the_docs_say(
    engine: sa.Engine, table: str, stream: Callable[..., Stream]
) -> None:
    with engine.connect() as slow, engine.connect() as quick:
        insert(slow, table, 1)
        insert(quick, table, 2)
        quick.commit()
        _, position = read(stream())
        slow.commit()
    assert read(stream(), position)[0] == []


@pytest.mark.parametrize("limit", [1, 4, 1000])
def test_rows_of_one_moment_are_each_read_once(
    engine: sa.Engine, table: str, stream: Callable[..., Stream], limit: int
) -> None:
    asked = stream(cursor="written")
    with engine.begin() as connection:
        insert(connection, table, *range(10), written="'2026-02-01'")
    first, position = read(asked, limit=limit)
    with engine.begin() as connection:
        insert(connection, table, *range(10, 15), written="'2026-02-01'")
        insert(connection, table, 15, written="'2026-02-02'")
    second, _ = read(asked, position, limit)
    assert (sorted(first), sorted(second)) == (list(range(10)), list(range(10, 16)))


def test_rows_without_a_cursor_are_not_read(
    engine: sa.Engine, table: str, stream: Callable[..., Stream]
) -> None:
    with engine.begin() as connection:
        insert(connection, table, 1, written="NULL")
        insert(connection, table, 2)
    assert read(stream(cursor="written"))[0] == [2]


def test_more_rows_near_the_newest_than_can_be_remembered_are_refused(
    engine: sa.Engine, table: str, stream: Callable[..., Stream], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.sources.sql.NEAR", 5)
    with engine.begin() as connection:
        insert(connection, table, *range(6), written="'2026-02-01'")
    with pytest.raises(
        DataError, match=r"more than 5 rows lie within source.lookback of written = 2026-02-01"
    ):
        read(stream(cursor="written"))


def test_what_databases_call_numbers_times_and_names_is_understood(
    postgres_server: Postgres, engine: sa.Engine
) -> None:
    name = f"orders_{uuid.uuid4().hex[:8]}"
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"CREATE TABLE {name} (no serial, id uuid, card numeric(12), at timestamp, amount numeric(10, 2),"
            " shop smallint, paid boolean, fraud boolean)"
        )
        connection.exec_driver_sql(
            f"INSERT INTO {name} (id, card, at, amount, shop, paid, fraud) VALUES"
            " ('6ad4d9b5-3d6c-4b3e-9c7e-0c8f4a8e1d11', 4111, '2026-02-01 12:00', 9.99, 7, true, NULL),"
            " ('7ad4d9b5-3d6c-4b3e-9c7e-0c8f4a8e1d11', 4112, '2026-02-01 12:00', 'NaN', NULL, false, true)"
        )
    fields = {
        "id": "id", "time": {"column": "at", "timezone": "Europe/Berlin"}, "entity": "card",
        "amount": "amount", "categories": ["shop", "paid"], "label": "fraud",
    }  # fmt: skip
    source = {"type": "sql", "url": postgres_server.url, "table": f"public.{name}", "cursor": "no"}
    body = {"name": "orders", "kind": "transaction", "source": source, "fields": fields}
    found = drain(TransactionStream.model_validate(body, strict=False))
    assert found.rows == [
        {
            "id": "6ad4d9b5-3d6c-4b3e-9c7e-0c8f4a8e1d11", "entity": "4111", "amount": 9.99,
            "time": datetime(2026, 2, 1, 11, tzinfo=UTC), "shop": "7", "paid": "1", "label": None,
        }
    ]  # fmt: skip
    assert found.reasons == ["amount: missing; expected a number"]
    assert json.loads(found.rejects["raw"][0].as_py())["card"] == "4112"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"table": "nothing"}, "source.table: no table nothing"),
        ({"cursor": "serial"}, "source.cursor: no column 'serial'; the table has id, time, written"),
        ({"lookback": "5m"}, "source.lookback: does not fit the column `cursor`; expected a whole number"),
        ({"cursor": "machine", "lookback": 3}, "expected 0: the column is text"),
        ({"cursor": "a"}, "source.cursor: values of type float do not tell an order"),
        ({"url": "oracle://x"}, "source.url: cannot open the database"),
        ({"url": "no url"}, "source.url: cannot open the database: not an SQLAlchemy URL"),
    ],
)
def test_a_source_that_cannot_be_says_which_key(
    engine: sa.Engine, table: str, stream: Callable[..., Stream], source: dict[str, Any], message: str
) -> None:
    with engine.begin() as connection:
        insert(connection, table, 1)
    with pytest.raises(ConfigError) as found:
        read(stream(**source))
    assert message in str(found.value)


def test_an_error_never_shows_the_password(stream: Callable[..., Stream]) -> None:
    canary = "canary-81f2"
    with pytest.raises(Unavailable) as found:
        read(stream(url=f"postgresql://offbeat:{canary}@127.0.0.1:1/x"))
    assert canary not in str(found.value)


def test_sqlite_lies_below_the_project(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/plant.db")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE r (n integer primary key, time, machine, a, b)")
        connection.exec_driver_sql(
            "INSERT INTO r VALUES (1, 1767225600, 'p1', 1, 'x'), (2, 1767225601, 5, '2', 0)"
        )
    source = {"type": "sql", "url": "sqlite:///plant.db", "table": "r", "cursor": "n"}
    fields = {"entity": "machine", "channels": [{"name": "a"}, {"name": "b"}]}
    body = {"name": "pumps", "kind": "sensor", "source": source, "fields": fields}
    with open_source(SensorStream.model_validate(body, strict=False), tmp_path) as opened:
        batch = opened.read({}, 10)
    assert [(r["entity"], r["a"]) for r in batch.records.to_pylist()] == [("5", 2.0)]
    assert batch.rejects["reason"].to_pylist() == ["b: 'x' is not a finite number"]
