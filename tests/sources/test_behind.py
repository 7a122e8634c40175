"""How far a stream is behind its source, and going back to read a stretch again, by kind of source."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline.config.models import SensorStream, Stream
from pipeline.errors import Unavailable
from pipeline.sources import open_source
from tests.sources import kit

LINES = "".join(f"2026-02-01T00:00:{s:02}Z,p1,{s},0\n" for s in range(10))
START = datetime(2026, 2, 1, tzinfo=UTC)


def behind(stream: Stream, position: dict[str, Any]) -> int | None:
    with open_source(stream, Path("/")) as source:
        return source.behind(position)


def test_bytes_of_files_that_are_not_read_yet(tmp_path: Path) -> None:
    stream = kit.sensor(tmp_path)
    path = kit.write(tmp_path / "one.csv", kit.HEADER + LINES)
    assert behind(stream, {}) == path.stat().st_size
    at = kit.drain(stream).position
    assert behind(stream, at) == 0
    kit.add(path, LINES[:60])
    assert behind(stream, at) == 60
    packed = kit.write(tmp_path / "two.csv.gz", gzip.compress((kit.HEADER + LINES).encode()))
    assert behind(stream, at) == 60 + packed.stat().st_size
    assert behind(stream, kit.drain(stream, position=at).position) < 60
    path.unlink()
    assert behind(stream, at) == packed.stat().st_size


def test_a_folder_that_is_not_there_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        behind(kit.sensor(tmp_path / "none"), {})


def test_files_are_read_again_from_their_start(tmp_path: Path) -> None:
    stream = kit.sensor(tmp_path)
    kit.write(tmp_path / "one.csv", kit.HEADER + LINES)
    first = kit.drain(stream)
    with open_source(stream, Path("/")) as source:
        again = kit.drained(source, position=source.rewound(first.position, START))
    assert again.rows == first.rows


def other(kind: str, **source: Any) -> SensorStream:
    fields = {"entity": "machine", "channels": [{"name": "a"}]}
    body = {"name": "pumps", "kind": "sensor", "source": {"type": kind, **source}, "fields": fields}
    return SensorStream.model_validate(body, strict=False)


def test_an_inbox_that_received_nothing_has_nothing(tmp_path: Path) -> None:
    stream = other("http", folder=str(tmp_path / "inbox"), token="${env:TOKEN}")
    assert behind(stream, {}) == 0
    kit.write(tmp_path / "inbox" / "20260201T000000.000000-ab.jsonl", "{}\n")
    assert behind(stream, {}) == 3


def test_mqtt_can_neither_say_nor_go_back() -> None:
    with open_source(other("mqtt", url="mqtt://127.0.0.1:1", topics=["a"]), Path("/")) as source:
        assert source.behind({"messages": 3}) is None
        assert source.rewound({"messages": 3}, START) is None
        assert "nothing twice" in source.keeps


@pytest.fixture
def table(tmp_path: Path) -> sa.Engine:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/shop.db")
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE readings (id integer PRIMARY KEY, time datetime, machine text, a real)"
        )
    return engine


def insert(engine: sa.Engine, days: range) -> None:
    columns = sa.table("readings", sa.column("time", sa.DateTime), sa.column("machine"), sa.column("a"))
    rows = [
        {"time": (START + timedelta(days=n)).replace(tzinfo=None), "machine": "p1", "a": float(n)}
        for n in days
    ]
    with engine.begin() as connection:
        connection.execute(columns.insert(), rows)


def test_rows_beyond_the_cursor_are_counted_where_there_is_an_index(table: sa.Engine) -> None:
    insert(table, range(5))
    stream = other("sql", url=str(table.url), table="readings", cursor="id")
    assert behind(stream, {}) == 5
    at = kit.drain(stream).position
    assert behind(stream, at) == 0
    insert(table, range(5, 8))
    assert behind(stream, at) == 3
    assert behind(other("sql", url=str(table.url), table="readings", cursor="a", lookback=0), {}) is None


def test_a_table_is_read_again_by_its_cursor_where_that_is_the_time(postgres_server: Any) -> None:
    engine = sa.create_engine(postgres_server.url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS readings")
        connection.exec_driver_sql("CREATE TABLE readings (time timestamp, machine text, a float)")
        connection.exec_driver_sql("CREATE INDEX ON readings (time)")
    insert(engine, range(10))
    stream = other("sql", url=postgres_server.url, table="readings", cursor="time", lookback="1h")
    whole = kit.drain(stream)
    assert len(whole.rows) == 10
    with open_source(stream, Path("/")) as source:
        assert source.behind(whole.position) == 0
        again = kit.drained(source, position=source.rewound(whole.position, START + timedelta(days=7)))
    assert [row["a"] for row in again.rows] == [6, 7, 8, 9]
    assert again.position["newest"] == whole.position["newest"]
