"""Source `sql`: a table that only gets new rows. Position: the cursor's highest value, and what lies near it.

Rows are read in the order of a column that grows. Rows may appear late below the highest value (a long
transaction, several at one moment): what lies at most `lookback` below it is read again every time, and told
from what is new by a digest of each row, which the position keeps. Nothing is doubled, nothing left out.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from pipeline import clock
from pipeline.config.models import SqlSource as Config
from pipeline.config.models import Stream
from pipeline.config.secrets import resolve
from pipeline.errors import ConfigError, DataError, Unavailable
from pipeline.sources import columnar
from pipeline.sources.conform import Conformer
from pipeline.sources.source import ASK, Batch, Source
from pipeline.sources.times import micros
from pipeline.sources.work import Work

PIECE = 10_000  # rows turned into columns at once
NEAR = 250_000  # digests in a position at most: some 3 MB in the commit
ANSWER = 15  # seconds for PostgreSQL to let us in, where the URL says nothing else
COUNTED = 1_000_000  # rows beyond the cursor at most
_DIGEST = 8  # bytes

Cursor = int | str | datetime
Row = tuple[Any, ...]


class SqlSource(Source):
    """Reads one table, by its growing column."""

    def __init__(self, stream: Stream, config: Config, base: Path) -> None:
        self.config = config
        self._conform, self._time = Conformer(stream), stream.fields.time.column
        self._engine = _engine(resolve(config.url), base)
        schema, _, name = config.table.rpartition(".")
        self._schema = schema or None
        self._table = sa.table(name, schema=self._schema)
        self._columns: list[str] | None = None

    def read(self, position: Mapping[str, Any], limit: int) -> Batch:
        """Return at most `limit` rows that were not read yet.

        Raises:
            Unavailable: the database does not answer.
            ConfigError: there is no such table or column, or the look-back does not fit the column.
            DataError: more rows lie within the look-back than can be remembered.
        """
        work, place = Work(rows=limit, now=clock.now()), _Place.read(position, self.config)
        with _reachable(self.config), self._engine.connect() as connection:
            names = self._known(connection)
            wrong = columnar.problem("table", names, self._conform)
            wanted = [n for n in dict.fromkeys(w.column for w in self._conform.wanted) if n in names]
            found = connection.execution_options(stream_results=True, yield_per=PIECE).execute(
                self._query(wanted, place)
            )
            for rows in found.partitions():
                fresh = place.fresh([tuple(row) for row in rows], work.rows)
                if fresh:
                    batch = pa.RecordBatch.from_arrays(
                        [_array([row[i + 1] for row in fresh]) for i in range(len(wanted))], wanted
                    )
                    at = [_number(row[0]) for row in fresh]
                    columnar.take(self.config.table, batch, self._conform, at, wrong, work)
                    work.took(len(fresh), batch.nbytes)
                if work.spent:
                    break
        return work.batch(self._conform, place.after(cut=work.spent), more=work.spent)

    def rewound(self, position: Mapping[str, Any], start: datetime) -> Mapping[str, Any]:
        """Return a position before `start`, where the cursor is the records' own time; else the beginning."""
        newest = position.get("newest")
        own_time = self.config.cursor == self._time
        if not own_time or not isinstance(newest, dict):
            return {}
        # a day covers every time zone that naive times may be in
        aware = datetime.fromisoformat(newest["time"]).tzinfo is not None
        begin = start.astimezone(UTC).replace(tzinfo=UTC if aware else None) - timedelta(days=1)
        return {**position, "newest": {"time": begin.isoformat()}, "near": ""}

    def behind(self, position: Mapping[str, Any]) -> int | None:
        """Return how many rows are beyond the cursor; None where the database has no index to tell by."""
        place = _Place.read(position, self.config)
        cursor: sa.ColumnClause[Any] = sa.column(self.config.cursor)
        beyond = cursor.is_not(None) if place.newest is None else cursor > place.newest
        with _reachable(self.config), self._engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SET statement_timeout = {int(ASK * 1000)}")
            if not self._indexed(connection):
                return None
            some = sa.select(sa.literal(1)).select_from(self._table).where(beyond).limit(COUNTED).subquery()
            return int(connection.execute(sa.select(sa.func.count()).select_from(some)).scalar_one())

    def _indexed(self, connection: sa.Connection) -> bool:
        """Say whether the cursor leads an index, so that rows beyond it are found without reading all."""
        look, where = sa.inspect(connection), {"schema": self._schema}
        keys: list[Sequence[str | None]] = [
            look.get_pk_constraint(self._table.name, **where)["constrained_columns"]
        ]
        keys += [index["column_names"] for index in look.get_indexes(self._table.name, **where)]
        return any(key[:1] == [self.config.cursor] for key in keys)

    def close(self) -> None:
        """Close connections."""
        self._engine.dispose()

    def _known(self, connection: sa.Connection) -> list[str]:
        """Return the table's columns, asked for once."""
        if self._columns is None:
            try:
                found = sa.inspect(connection).get_columns(self._table.name, schema=self._schema)
            except sa.exc.NoSuchTableError:
                raise ConfigError(f"no table {self.config.table}", key="source.table") from None
            self._columns = [str(column["name"]) for column in found]
            if self.config.cursor not in self._columns:
                have = ", ".join(self._columns[:12])
                raise ConfigError(
                    f"no column {self.config.cursor!r}; the table has {have}", key="source.cursor"
                )
        return self._columns

    def _query(self, wanted: Sequence[str], place: _Place) -> sa.Select[Any]:
        cursor: sa.ColumnClause[Any] = sa.column(self.config.cursor)
        columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in wanted]
        begin = place.begin(self.config.lookback)
        condition = cursor.is_not(None) if begin is None else cursor >= begin
        return (
            sa.select(cursor.label("offbeat_cursor"), *columns)
            .select_from(self._table)
            .where(condition)
            .order_by(cursor)
        )


class _Place:
    """How far a table was read: the cursor's highest value, and digests of rows at most `lookback` below."""

    def __init__(self, config: Config, newest: Cursor | None, near: set[bytes]) -> None:
        self.config, self.newest, self._before = config, newest, near
        self._passed: list[tuple[Cursor, bytes]] = []  # in the cursor's order; those near the newest matter

    @classmethod
    def read(cls, position: Mapping[str, Any], config: Config) -> _Place:
        """Read a stored position; one of another table or column begins anew, and known rows are dropped."""
        if (position.get("table"), position.get("column")) != (config.table, config.cursor):
            return cls(config, None, set())
        packed = base64.b64decode(position["near"])
        near = {packed[i : i + _DIGEST] for i in range(0, len(packed), _DIGEST)}
        newest = position["newest"]
        return cls(
            config, datetime.fromisoformat(newest["time"]) if isinstance(newest, dict) else newest, near
        )

    def begin(self, lookback: int | timedelta) -> Cursor | None:
        """Return from where to read: the newest value less the look-back."""
        return None if self.newest is None else _less(self.newest, lookback)

    def fresh(self, rows: Sequence[Row], most: int) -> list[Row]:
        """Return at most `most` rows that were not read yet, and remember all that were passed."""
        out: list[Row] = []
        for row in rows:
            digest = hashlib.blake2b(repr(row).encode("utf-8", "replace"), digest_size=_DIGEST).digest()
            if digest not in self._before:
                if len(out) == most:
                    break
                out.append(row)
            self._passed.append((_cursor(row[0]), digest))
        self._forget()
        return out

    def _forget(self) -> None:
        """Keep of what was passed only what lies near the newest."""
        if not self._passed:
            return
        self.newest = _later(self.newest, self._passed[-1][0])
        begin = _less(self.newest, self.config.lookback)
        self._passed = [one for one in self._passed if _not_below(one[0], begin)]
        if len(self._passed) > NEAR:
            raise DataError(
                f"{self.config.table}: more than {NEAR:,} rows lie within source.lookback of"
                f" {self.config.cursor} = {self.newest}; shorten it, or take a column that differs by row"
            )

    def after(self, *, cut: bool) -> dict[str, Any]:
        """Return the position, JSON-able; where reading was `cut` short, what was near may be so still."""
        near = {digest for _, digest in self._passed} | (self._before if cut else set())
        newest = {"time": self.newest.isoformat()} if isinstance(self.newest, datetime) else self.newest
        packed = base64.b64encode(b"".join(sorted(near))).decode()
        return {"table": self.config.table, "column": self.config.cursor, "newest": newest, "near": packed}


def _cursor(value: Any) -> Cursor:
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(value)
    if isinstance(value, (int, str, datetime)) and not isinstance(value, bool):
        return value
    kind = type(value).__name__
    raise ConfigError(
        f"values of type {kind} do not tell an order", key="source.cursor", expected="integers, times or text"
    )


def _later(one: Cursor | None, other: Cursor) -> Cursor:
    """Return the higher value; of text, which databases order in their own ways, the one read last."""
    if isinstance(one, int) and isinstance(other, int):
        return max(one, other)
    if isinstance(one, datetime) and isinstance(other, datetime):
        return max(one, other)
    return other


def _not_below(value: Cursor, begin: Cursor) -> bool:
    if isinstance(value, int) and isinstance(begin, int):
        return value >= begin
    if isinstance(value, datetime) and isinstance(begin, datetime):
        return value >= begin
    return value == begin


def _less(value: Cursor, lookback: int | timedelta) -> Cursor:
    if not lookback:
        return value
    if isinstance(value, int) and isinstance(lookback, int):
        return value - lookback
    if isinstance(value, datetime) and isinstance(lookback, timedelta):
        return value - lookback
    expected = {int: "a whole number", datetime: "a duration such as 5m"}.get(
        type(value), "0: the column is text"
    )
    raise ConfigError("does not fit the column `cursor`", key="source.lookback", expected=expected)


def _number(cursor: Any) -> int:
    """Return a cursor's value as the position a reject is stored with."""
    if isinstance(cursor, datetime):
        return micros(cursor if cursor.tzinfo else cursor.replace(tzinfo=UTC))
    return int(cursor) if isinstance(cursor, (int, Decimal)) else 0


def _array(values: Sequence[Any]) -> pa.Array:
    """Return a column of the type that its values have; text where they have several."""
    kinds = {type(value) for value in values if value is not None}
    try:
        if kinds <= {int, bool}:
            return pa.array([None if v is None else int(v) for v in values], pa.int64())
        if kinds <= {int, bool, float}:
            return pa.array([None if v is None else float(v) for v in values], pa.float64())
        if kinds in ({datetime}, {date}, {str}, {bytes}):
            return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeError):
        pass
    return pa.array([None if v is None else _text(v) for v in values], pa.string())


def _text(value: Any) -> str:
    text = value.isoformat() if isinstance(value, (date, datetime)) else str(value)
    return text.encode("utf-8", "replace").decode()


def _engine(url: str, base: Path) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() == "postgresql" and "connect_timeout" not in parsed.query:
            parsed = parsed.update_query_dict({"connect_timeout": str(ANSWER)})
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            parsed = parsed.set(database=str(base / parsed.database))
        return sa.create_engine(parsed, hide_parameters=True, poolclass=sa.NullPool)
    except (sa.exc.ArgumentError, ImportError) as error:
        # never the URL itself, which may hold a password
        why = str(error) if isinstance(error, ImportError) else "not an SQLAlchemy URL"
        raise ConfigError(
            f"cannot open the database: {why}",
            key="source.url",
            expected="a URL whose driver is installed, such as postgresql://user@host/name",
        ) from None


@contextmanager
def _reachable(config: Config) -> Iterator[None]:
    """Say in our words what a database says: not there now, or not as configured."""
    try:
        yield
    except sa.exc.OperationalError as error:
        raise Unavailable(f"the database of {config.table} does not answer: {error.orig}") from error
    except sa.exc.ProgrammingError as error:
        raise ConfigError(f"the database refuses: {error.orig}", key="source") from error
    except sa.exc.DBAPIError as error:
        if error.connection_invalidated:
            raise Unavailable(f"the database of {config.table} went away: {error.orig}") from error
        raise ConfigError(f"the database refuses: {error.orig}", key="source") from error
