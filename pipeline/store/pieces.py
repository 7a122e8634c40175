"""Ranges of time with about so many records each, told from the table's statistics without reading it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

import pyarrow as pa
from deltalake import DeltaTable

_DAY = timedelta(days=1)


def pieces(
    table: DeltaTable, start: datetime, end: datetime, rows: int
) -> Iterator[tuple[datetime, datetime]]:
    """Yield ranges that follow one another from `start` to `end`, each of about `rows` records at most.

    Days are put together while they are few, and one day of many records is cut evenly.
    """
    begin, held = start, 0
    for day, count in _days(table, start, end):
        parts = -(-count // rows)
        if held and held + count > rows:
            yield begin, (begin := _midnight(day))
            held = 0
        for part in range(1, parts):
            cut = _midnight(day) + _DAY * part / parts
            if begin < cut < end:
                yield begin, (begin := cut)
        held += -(-count // max(parts, 1))
    if held:
        yield begin, end


def _days(table: DeltaTable, start: datetime, end: datetime) -> list[tuple[date, int]]:
    """Return how many records each day has, for days that touch [start, end)."""
    files = pa.table(table.get_add_actions(flatten=True)).select(["partition.date", "num_records"])
    days = files.group_by("partition.date").aggregate([("num_records", "sum")]).sort_by("partition.date")
    counts = zip(days["partition.date"].to_pylist(), days["num_records_sum"].to_pylist(), strict=True)
    return [(d, n or 0) for d, n in counts if _midnight(d) < end and _midnight(d) + _DAY > start]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
