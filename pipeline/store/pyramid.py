"""A table seen from afar: the least and the most of its values in each minute and in each hour.

In: a Delta table, partitioned by UTC day. Out: a small Arrow file for each day and level, in a folder of its
own. A file's name says which files of the table it was made from, so that a day whose records
changed (late ones, a merge, a compaction) is made again and no other is. The folder may be deleted any time.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.schemas import TIME
from pipeline.store import delta
from pipeline.store.delta import guard
from pipeline.store.scores import newest

LEVELS = (60, 3600)
"""Seconds that one row stands for."""
_SUFFIX = ".arrow"


@dataclass(frozen=True)
class Day:
    """One day of the table: which files it is made of, told by a digest, and how many rows they hold."""

    day: date
    digest: str
    rows: int


class Pyramid:
    """The levels of one table.

    Args:
        uri: of the Delta table.
        folder: where the levels are kept.
        values: numeric columns; the levels have `<value>.min` and `<value>.max` of each.
        entities: keep entities apart; else each row is of all of them, and `entity` is empty.
    """

    def __init__(self, uri: str, folder: Path, values: Sequence[str], *, entities: bool = True) -> None:
        self.uri, self.folder, self.values, self.entities = uri, folder, tuple(values), entities
        self.table = delta.find(uri)

    @property
    def version(self) -> int:
        """Delta version of the table as it was opened; -1 where there is none yet."""
        return self.table.version() if self.table else -1

    def days(self, start: datetime, end: datetime) -> list[Day]:
        """Return the days that have rows and touch [start, end), oldest first."""
        if self.table is None or start >= end:
            return []
        first, last = start.astimezone(UTC).date(), (end - timedelta(microseconds=1)).astimezone(UTC).date()
        with guard(f"reading {self.uri}"):
            files = pa.table(self.table.get_add_actions(flatten=True))
        days, paths, rows = (files[name].to_pylist() for name in ("partition.date", "path", "num_records"))
        found: dict[date, tuple[list[str], int]] = {}
        for day, path, count in zip(days, paths, rows, strict=True):
            if first <= day <= last:
                known = found.setdefault(day, ([], 0))
                known[0].append(path)
                found[day] = (known[0], known[1] + (count or 0))
        return [Day(day, self._digest(paths), count) for day, (paths, count) in sorted(found.items())]

    def missing(self, days: Sequence[Day]) -> list[Day]:
        """Return the days whose levels are not there as they are now."""
        there = self._there(LEVELS[-1])  # the last to be written
        return [day for day in days if there.get(day.day) != day.digest]

    def build(self, day: Day) -> None:
        """Make the levels of one day. Killed halfway, it is made again; two that make it at once agree."""
        assert self.table is not None
        columns = ["entity", "time", *self.values]
        scored = "version" in self.table.schema().to_arrow().names
        with guard(f"reading {self.uri}"):
            found = delta.dataset(self.table, f"date = '{day.day}'")
            known = [c for c in columns if c in found.schema.names]
            rows = found.to_table(
                columns=[*known, *(["id", "version"] if scored else [])], filter=pc.field("date") == day.day
            )
        rows = (newest(rows) if scored else rows).select(known)
        for value in set(self.values) - set(known):
            rows = rows.append_column(value, pa.nulls(len(rows), pa.float64()))
        if not self.entities:
            rows = rows.set_column(0, "entity", pa.repeat(pa.scalar(""), len(rows)))
        for width in LEVELS:
            level = _level(rows, self.values, width)
            _write(level, self._folder(width), f"{day.day}.{day.digest}{_SUFFIX}")

    def read(
        self,
        start: datetime,
        end: datetime,
        width: int,
        *,
        entity: str | None = None,
        values: Sequence[str] | None = None,
        days: Sequence[Day] | None = None,
    ) -> pa.Table:
        """Return the rows of a level that lie in [start, end): of days that were made, by entity and time."""
        names = self.values if values is None else values
        columns = ["entity", "time", "count", *(f"{v}.{side}" for v in names for side in ("min", "max"))]
        parts = []
        for day in self.days(start, end) if days is None else days:
            path = self._folder(width) / f"{day.day}.{day.digest}{_SUFFIX}"
            with suppress(FileNotFoundError):
                parts.append(_of(_open(path).select(columns), entity))
        if not parts:
            return _schema(self.values).empty_table().select(columns)
        low, high = (pa.scalar(t, TIME) for t in (start - timedelta(seconds=width), end))
        rows = pa.concat_tables(parts)
        return rows.filter(pc.and_(pc.greater(rows["time"], low), pc.less(rows["time"], high)))

    def sweep(self) -> None:
        """Remove levels of days as they are not any more."""
        now = {day.day: day.digest for day in self.days(_FIRST, _LAST)}
        for width in LEVELS:
            for path in self._folder(width).glob(f"*{_SUFFIX}"):
                day, _, digest = path.name.removesuffix(_SUFFIX).partition(".")
                if now.get(date.fromisoformat(day)) != digest:
                    path.unlink(missing_ok=True)

    def _there(self, width: int) -> dict[date, str]:
        folder = self._folder(width)
        names = os.listdir(folder) if folder.exists() else []  # noqa: PTH208 - half the time of iterdir
        pairs = (n.removesuffix(_SUFFIX).partition(".") for n in names if n.endswith(_SUFFIX))
        return {date.fromisoformat(day): digest for day, _, digest in pairs}

    def _folder(self, width: int) -> Path:
        return self.folder / str(width)

    def _digest(self, paths: Sequence[str]) -> str:
        said = "\n".join([*sorted(paths), *self.values, str(self.entities)])
        return hashlib.sha256(said.encode()).hexdigest()[:16]


_FIRST, _LAST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)


def _schema(values: Sequence[str]) -> pa.Schema:
    sides = [pa.field(f"{v}.{side}", pa.float32()) for v in values for side in ("min", "max")]
    return pa.schema([("entity", pa.string()), ("time", TIME), ("count", pa.int64()), *sides])


def _level(rows: pa.Table, values: Sequence[str], width: int) -> pa.Table:
    """Return the least and the most of each value by entity and bucket, in that order."""
    micros, size = rows["time"].cast(pa.int64()), width * 1_000_000
    bucket = pc.multiply(pc.floor(pc.divide(micros.cast(pa.float64()), float(size))).cast(pa.int64()), size)
    keyed = rows.set_column(rows.schema.get_field_index("time"), "bucket", bucket)
    asked = [("bucket", "count"), *((v, side) for v in values for side in ("min", "max"))]
    found = keyed.group_by(["entity", "bucket"]).aggregate(asked)
    found = found.sort_by([("entity", "ascending"), ("bucket", "ascending")])
    sides = [found[f"{v}_{side}"].cast(pa.float32()) for v in values for side in ("min", "max")]
    columns = [found["entity"], found["bucket"].cast(TIME), found["bucket_count"], *sides]
    return pa.table(columns, schema=_schema(values))


def _write(level: pa.Table, folder: Path, name: str) -> None:
    """Write a file whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    handle, made = tempfile.mkstemp(dir=folder, prefix=".")
    try:
        with os.fdopen(handle, "wb") as sink, pa.ipc.new_file(sink, level.schema) as file:
            file.write_table(level)
        Path(made).replace(folder / name)
    finally:
        Path(made).unlink(missing_ok=True)


def _open(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def _of(level: pa.Table, entity: str | None) -> pa.Table:
    """Return one entity's rows: they lie together."""
    return level if entity is None else level.filter(pc.equal(level["entity"], entity))
