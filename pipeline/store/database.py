"""The one SQL database of what changes in place: anomalies, outbox, deliveries, leases, cursors.

In: a SQLAlchemy URL, SQLite or PostgreSQL. Out: an Engine whose tables exist, and the two ways to
use it: `reading` and `writing`. Writers take SQLite's write lock at once, so that none fails halfway.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.schema import CreateColumn

from pipeline.errors import ConfigError, DataError, Unavailable

SCHEMA_VERSION = 3
OLDEST_VERSION = 2  # what it lacks is added when it is opened
BUSY_SECONDS = 30.0
_SCHEMA_LOCK = 0x0FFBEA7
_EXPECTED = "sqlite:///file or postgresql://host/name"


class UtcTime(sa.TypeDecorator[datetime]):
    """A moment: aware in Python, UTC in the database."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Normalise to UTC; a naive time is a bug."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Give the time zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = sa.MetaData()

schema_version = sa.Table(
    "schema_version",
    metadata,
    sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.Integer, nullable=False),
)

anomalies = sa.Table(
    "anomalies",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("stream", sa.String(64), nullable=False),
    sa.Column("entity", sa.Text, nullable=False),
    sa.Column(
        "entity_key", sa.String(32), nullable=False
    ),  # digest: an entity's name may be too long to index
    sa.Column("start", UtcTime, nullable=False),
    sa.Column("end", UtcTime, nullable=False),
    sa.Column("peak", UtcTime, nullable=False),
    sa.Column("peak_score", sa.Float, nullable=False),
    sa.Column("severity", sa.String(16), nullable=False),
    sa.Column("status", sa.String(8), nullable=False),
    sa.Column("channels", sa.JSON, nullable=False),
    sa.Column("ids", sa.JSON, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("usual", sa.Float),
    sa.Column("stream_kind", sa.String(16), nullable=False),
    sa.Column("noun", sa.Text, nullable=False),
    sa.Column("version", sa.Integer),
    sa.Column("run", sa.Text),
    sa.Column("airflow_run", sa.Text),
    sa.Column("silent", sa.Boolean, nullable=False),
    sa.Column("episode", sa.Integer, nullable=False),
    sa.Column("opened_at", UtcTime, nullable=False),
    sa.Column("updated_at", UtcTime, nullable=False),
    sa.Column("closed_at", UtcTime),
    sa.Column("ending", sa.String(16), nullable=False),
    sa.Column("revised", sa.JSON(none_as_null=True)),
    # who is told of the row as it is was decided; the default is for rows of an earlier version
    sa.Column("decided", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("answer", sa.String(16), nullable=False, server_default=""),
    sa.Column("answered_by", sa.Text, nullable=False, server_default=""),
    sa.Column("answered_at", UtcTime),
    sa.Column("snoozed_until", UtcTime),
    sa.Column("verdict", sa.String(16), nullable=False, server_default=""),
    sa.Column("settled", UtcTime),
    sa.Column("maintenance", sa.String(32), nullable=False, server_default=""),
    sa.CheckConstraint("status IN ('open', 'closed')", name="anomaly_status"),
    sa.Index("anomalies_by_entity", "stream", "entity_key", "start"),
    sa.Index("anomalies_by_start", "stream", "start"),
    sa.Index("anomalies_by_status", "status", "stream"),
    sa.Index("anomalies_undecided", "decided", "silent"),
    sa.Index("anomalies_by_end", "closed_at"),
)

answers = sa.Table(
    "answers",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),  # in the order they came
    sa.Column("anomaly", sa.String(32), sa.ForeignKey("anomalies.id"), nullable=False, index=True),
    sa.Column("what", sa.String(16), nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("until", UtcTime),
)

missed = sa.Table(
    "missed",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("stream", sa.String(64), nullable=False, index=True),
    sa.Column("entity", sa.Text, nullable=False),
    sa.Column("start", UtcTime, nullable=False),
    sa.Column("end", UtcTime, nullable=False),
    sa.Column("version", sa.Integer),  # of the model that scored then and saw nothing
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
)

maintenances = sa.Table(
    "maintenances",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("stream", sa.String(64), nullable=False, index=True),
    sa.Column("entities", sa.JSON, nullable=False),  # patterns such as pump-*
    sa.Column("start", UtcTime, nullable=False),
    sa.Column("end", UtcTime, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("cancelled_by", sa.Text),
    sa.Column("cancelled_at", UtcTime),
)

spent_links = sa.Table(
    "spent_links",
    metadata,
    sa.Column("nonce", sa.String(64), primary_key=True),
    sa.Column("spent_at", UtcTime, nullable=False),
)

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("key", sa.String(160), primary_key=True),
    sa.Column("anomaly", sa.String(32), sa.ForeignKey("anomalies.id"), nullable=False, index=True),
    sa.Column("event", sa.String(8), nullable=False),
    sa.Column("payload", sa.JSON, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.CheckConstraint("event IN ('firing', 'resolved', 'meta')", name="outbox_event"),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("key", sa.String(160), sa.ForeignKey("outbox.key"), primary_key=True),
    sa.Column("receiver", sa.String(64), primary_key=True),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("after", sa.String(160)),  # key that this receiver must have had, or been given up on, first
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("next_attempt_at", UtcTime, nullable=False),
    sa.Column("lease_until", UtcTime),
    sa.Column("lease_owner", sa.String(64)),
    sa.Column("last_error", sa.Text),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("delivered_at", UtcTime),
    sa.CheckConstraint("state IN ('pending', 'leased', 'delivered', 'dead')", name="delivery_state"),
    sa.Index("deliveries_due", "receiver", "state", "next_attempt_at"),
    sa.Index("deliveries_made", "receiver", "created_at"),
)

incidents = sa.Table(
    "incidents",
    metadata,
    sa.Column("key", sa.String(32), primary_key=True),
    sa.Column("route", sa.String(96), nullable=False),
    sa.Column("group", sa.String(32), nullable=False),
    sa.Column("labels", sa.JSON, nullable=False),
    sa.Column("worst", sa.String(32), sa.ForeignKey("anomalies.id"), nullable=False),
    sa.Column("severity", sa.String(16), nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("opened_at", UtcTime, nullable=False),
    sa.Column("first_at", UtcTime),
    sa.Column("told_at", UtcTime),
    sa.Column("closed_at", UtcTime),
    sa.Column("told", sa.JSON, nullable=False),
    sa.Column("sent", sa.Integer, nullable=False),
    sa.Column("escalated", sa.Integer, nullable=False),
    sa.Column("acknowledged", sa.Boolean, nullable=False),
    sa.Index("incidents_by_end", "closed_at"),
)

incident_members = sa.Table(
    "incident_members",
    metadata,
    sa.Column("incident", sa.String(32), sa.ForeignKey("incidents.key"), primary_key=True),
    sa.Column("anomaly", sa.String(32), sa.ForeignKey("anomalies.id"), primary_key=True),
    sa.Column("episode", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("told", sa.Boolean, nullable=False),
    sa.Index("incident_members_by_anomaly", "anomaly"),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("until", UtcTime, nullable=False),
)

cursors = sa.Table(
    "cursors",
    metadata,
    sa.Column("stream", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.JSON, nullable=False),
)


def open_database(url: str) -> sa.Engine:
    """Connect, and create what is missing; many processes may do so at once.

    Raises:
        ConfigError: the URL cannot be read, or names a database we don't speak.
        DataError: another Offbeat wrote the database: a newer one, or one of before the first release.
        Unavailable: it does not answer.
    """
    engine = _engine(url)
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            _prepare(engine)
        except Unavailable:
            # Turning WAL on ignores the busy timeout while another process does the same.
            if engine.dialect.name != "sqlite" or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return engine


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a transaction that only reads."""
    with _reachable(), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a transaction that writes: commits at the end, rolls back on an error.

    Raises:
        Unavailable: the database does not answer, or stayed locked for half a minute.
    """
    with (
        _reachable(),
        engine.connect().execution_options(offbeat_write=True) as connection,
        connection.begin(),
    ):
        yield connection


def batched(values: Iterable[str], size: int = 500) -> Iterator[list[str]]:
    """Yield values in lists that a statement's parameters have room for."""
    left = iter(values)
    while some := list(islice(left, size)):
        yield some


def insert(engine_or_connection: sa.Engine | sa.Connection, table: sa.Table) -> Any:
    """Return an INSERT that knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
    from sqlalchemy.dialects import postgresql, sqlite

    return (sqlite if engine_or_connection.dialect.name == "sqlite" else postgresql).insert(table)


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise Unavailable(f"the database does not answer: {error.orig}") from error
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        raise Unavailable(f"the database went away: {error.orig}") from error


def _engine(url: str) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.drivername == "sqlite":
            return _sqlite(parsed)
        if parsed.drivername == "postgresql+psycopg":
            return sa.create_engine(parsed, hide_parameters=True, pool_pre_ping=True)
    except (sa.exc.ArgumentError, ImportError) as error:
        raise ConfigError(f"cannot open the database: {type(error).__name__}", expected=_EXPECTED) from None
    raise ConfigError("a database we don't speak", expected=_EXPECTED)


def _sqlite(url: sa.URL) -> sa.Engine:
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS})
    sa.event.listen(engine, "connect", _on_connect)
    sa.event.listen(engine, "begin", _on_begin)
    return engine


def _on_connect(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # sqlite3 must not begin transactions of its own: _on_begin does
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")


def _on_begin(connection: sa.Connection) -> None:
    write = connection.get_execution_options().get("offbeat_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _prepare(engine: sa.Engine) -> None:
    if engine.dialect.name == "sqlite":
        _turn_wal_on(engine)
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
        metadata.create_all(connection)
        connection.execute(
            insert(connection, schema_version).values(one=1, version=SCHEMA_VERSION).on_conflict_do_nothing()
        )
        found = connection.execute(sa.select(schema_version.c.version)).scalar_one()
        if OLDEST_VERSION <= found < SCHEMA_VERSION:
            _add_columns(connection)
            connection.execute(sa.update(schema_version).values(version=SCHEMA_VERSION))
    if found > SCHEMA_VERSION:
        raise DataError(f"the database has schema {found}; this Offbeat knows {SCHEMA_VERSION}: upgrade it")
    if found < OLDEST_VERSION:
        raise DataError(f"the database has schema {found}, of before the first release: move it away")


def _add_columns(connection: sa.Connection) -> None:
    """Add the columns and indices that tables of an earlier version lack; rows get the columns' defaults."""
    inspector = sa.inspect(connection)
    quoted = connection.dialect.identifier_preparer.quote
    for table in metadata.sorted_tables:
        known = {column["name"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if column.name not in known:
                added = CreateColumn(column).compile(dialect=connection.dialect)
                connection.exec_driver_sql(f"ALTER TABLE {quoted(table.name)} ADD COLUMN {added}")
        for index in table.indexes:
            index.create(connection, checkfirst=True)


def _turn_wal_on(engine: sa.Engine) -> None:
    with _reachable(), engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        try:
            raw.execute("PRAGMA journal_mode = WAL").fetchone()
        except engine.dialect.loaded_dbapi.OperationalError as error:
            raise Unavailable(f"the database does not answer: {error}") from error
