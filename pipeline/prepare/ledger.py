"""Transactions in order: by entity, then time, then id, each once.

In: a table in any order, with repeats. Out: `Ledger`, columns as arrays [N].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import DataError
from pipeline.prepare import columns
from pipeline.prepare.series import Bools, Floats, Ints, Objects


@dataclass(frozen=True)
class Category:
    """One categorical column: a code per row [N], and the texts the codes stand for ("" for missing)."""

    codes: Ints
    texts: list[str]


@dataclass(frozen=True)
class Ledger:
    """Every transaction of every entity, in order of entity, time and id."""

    entities: list[str]
    entity: Ints
    time: Ints
    ids: Objects
    amount: Floats
    """In its own unit; NaN where missing or infinite."""
    categories: tuple[Category, ...]
    label: Floats
    """Above 0 is fraud; NaN where unknown, or where the stream has no labels."""

    def __len__(self) -> int:
        return len(self.time)

    @property
    def begin(self) -> Ints:
        """Row at which each row's entity begins [N]."""
        return np.searchsorted(self.entity, self.entity)


def empty(fields: int) -> Ledger:
    """Return a ledger without rows."""
    none = np.zeros(0, dtype=np.int64)
    ids, amount = np.zeros(0, dtype=object), np.zeros(0)
    return Ledger([], none, none, ids, amount, tuple(Category(none, []) for _ in range(fields)), np.zeros(0))


def read(table: pa.Table, fields: tuple[str, ...], start: int | None, until: int | None) -> Ledger:
    """Read the rows with start ≤ time < until (microseconds UTC); `fields` are categorical columns."""
    table = columns.between(table, start, until)
    entity, entities = columns.coded(table, "entity")
    categories = [_category(table, name) for name in fields]
    book = Ledger(
        entities,
        entity,
        columns.micros(table),
        columns.texts(table, "id"),
        columns.floats(table, "amount"),
        tuple(categories),
        columns.floats(table, "label"),
    )
    if any(i is None for i in book.ids):
        raise DataError("id is missing in some rows")
    return _take(book, _order(book))


def _category(table: pa.Table, name: str) -> Category:
    if name not in table.column_names:
        return Category(np.zeros(table.num_rows, dtype=np.int64), [""])
    filled = pc.fill_null(table.column(name).cast(pa.string()), "")
    return Category(*columns.coded(pa.table({name: filled}), name))


def _order(book: Ledger) -> Ints:
    order = np.lexsort((book.time, book.entity))
    level = _same(book.entity[order], book.time[order])
    tied = np.append(False, level) | np.append(level, False)
    if not tied.any():
        return order
    rows = order[tied]
    name = np.unique(book.ids[rows].astype(str), return_inverse=True)[1]
    rest = [c.codes[rows] for c in book.categories]
    within = np.lexsort((*rest, book.amount[rows], name, book.time[rows], book.entity[rows]))
    order[tied] = rows[within]
    return order[~_repeats(book, order)]


def _repeats(book: Ledger, order: Ints) -> Bools:
    level = _same(book.entity[order], book.time[order])
    ids = book.ids[order]
    return np.append(False, level & np.asarray(ids[1:] == ids[:-1], dtype=np.bool_))


def _same(entity: Ints, time: Ints) -> Bools:
    return np.asarray((entity[1:] == entity[:-1]) & (time[1:] == time[:-1]), dtype=np.bool_)


def _take(book: Ledger, order: Ints) -> Ledger:
    return Ledger(
        book.entities,
        book.entity[order],
        book.time[order],
        book.ids[order],
        book.amount[order],
        tuple(Category(c.codes[order], c.texts) for c in book.categories),
        book.label[order],
    )
