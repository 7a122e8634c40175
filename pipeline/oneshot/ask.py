"""What is asked of one table: which columns mean what, what to learn from, how hard to try.

In: names as a person typed them. Out: `Ask`, and `Columns`, the same checked against a table.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import pyarrow as pa

from pipeline.errors import DataError

Kind = Literal["sensor", "transaction"]
Preset = Literal["fast", "default", "best"]
MOST_CHANNELS = 1000


@dataclass(frozen=True)
class Ask:
    """One table to detect in. Every name is a column of it."""

    kind: Kind = "sensor"
    time: str | None = None
    """When; None: the number of the row."""
    entity: str | None = None
    """Which machine, card or account; None: there is one."""
    channels: tuple[str, ...] | None = None
    """Sensors: what is measured; None: every numeric and boolean column that is nothing else."""
    id: str | None = None
    """Transactions: what a transaction is called; None: the number of its row."""
    amount: str | None = None
    """Transactions: how much."""
    categories: tuple[str, ...] = ()
    """Transactions: terminal, merchant, country."""
    label: str | None = None
    """What is known to be wrong: 0 or false for normal, anything above for not, empty for unknown."""
    train_rows: int | None = None
    """The first so many rows are learned from; None: no such limit."""
    train_from: str | None = None
    """Rows before this time are not learned from: ISO 8601, or a number for a column of numbers."""
    train_until: str | None = None
    """Rows from this time on are not learned from."""
    seed: int = 7
    preset: Preset = "default"
    label_delay: timedelta | None = None
    """Transactions: labels this much older than a row may be used to judge it; None: never."""
    false_alarms: str | None = None
    """Alert budget: `1/day`, `20/week`, `1/1000 rows`; None: see `presets.usual_budget`."""
    name: str = "detect"
    """What the stream is called."""


@dataclass(frozen=True)
class Columns:
    """An ask's columns, all of which the table has."""

    channels: tuple[str, ...]
    """Sensors: what is measured. Empty for transactions."""
    left_out: tuple[str, ...]
    """Columns that nothing is made of."""


def columns_of(table: pa.Table, ask: Ask) -> Columns:
    """Check every name of an ask.

    Raises:
        DataError: a column is not there, has the wrong type or two meanings; says what to do.
    """
    if not table.num_rows:
        raise DataError("the table has no rows")
    named = {
        role: name
        for role, name in (
            ("--time", ask.time), ("--entity", ask.entity), ("--label", ask.label),
            ("--id", ask.id), ("--amount", ask.amount),
        )
        if name is not None
    }  # fmt: skip
    for role, name in named.items():
        require(table, name, role)
    _check_kind(ask)
    if ask.kind == "transaction":
        return _transaction(table, ask, named)
    taken = set(named.values())
    channels = tuple(c for c in table.column_names if c not in taken and _measured(table, c))
    if ask.channels is not None:
        channels = tuple(dict.fromkeys(ask.channels))
        for name in channels:
            require(table, name, "--channels")
            _check_twice(named, name, "--channels")
            _check_number(table, name)
    if not channels:
        raise DataError(
            f"no numeric column to watch among {', '.join(table.column_names)}: name some by --channels"
        )
    if len(channels) > MOST_CHANNELS:
        raise DataError(f"{len(channels)} channels are more than {MOST_CHANNELS}: choose some by --channels")
    return Columns(channels, _rest(table, (*channels, *taken)))


def require(table: pa.Table, name: str, role: str) -> None:
    """Refuse a column that is not there, and name the nearest that is."""
    if name in table.column_names:
        return
    near = difflib.get_close_matches(name, table.column_names, n=1, cutoff=0.5)
    near = near or [c for c in table.column_names if c.casefold() == name.casefold()]
    hint = f"; did you mean {near[0]}?" if near else ""
    raise DataError(f"{role}: no column {name!r}; expected one of {_listed(table.column_names)}{hint}")


def is_number(kind: pa.DataType) -> bool:
    """Say whether a type counts as numbers: integers, floats, decimals and booleans do."""
    of = pa.types
    return bool(of.is_integer(kind) or of.is_floating(kind) or of.is_decimal(kind) or of.is_boolean(kind))


def _check_kind(ask: Ask) -> None:
    if ask.kind == "sensor":
        given: list[tuple[str, object]] = [("--id", ask.id), ("--amount", ask.amount)]
        given += [("--category", ask.categories), ("--label-delay", ask.label_delay)]
        for role, value in given:
            if value:
                raise DataError(f"{role} is for transactions: add --kind transaction, or leave it out")
        return
    if ask.channels is not None:
        raise DataError("--channels is for sensors: name --amount and --category for transactions")
    for role, name in (("--amount", ask.amount), ("--entity", ask.entity), ("--time", ask.time)):
        if name is None:
            raise DataError(f"{role} is missing: --kind transaction needs --time, --entity and --amount")
    if ask.label_delay is not None and ask.label is None:
        raise DataError("--label-delay needs --label: it says when labels become known")


def _transaction(table: pa.Table, ask: Ask, named: dict[str, str]) -> Columns:
    assert ask.amount is not None
    _check_number(table, ask.amount)
    for name in ask.categories:
        require(table, name, "--category")
        _check_twice(
            {k: v for k, v in named.items() if k in ("--time", "--label", "--amount")}, name, "--category"
        )
    return Columns((), _rest(table, (*named.values(), *ask.categories)))


def _check_twice(named: dict[str, str], name: str, role: str) -> None:
    for other, taken in named.items():
        if taken == name:
            raise DataError(f"{role}: column {name!r} is already the {other.removeprefix('--')}")


def _check_number(table: pa.Table, name: str) -> None:
    kind = table.column(name).type
    if not is_number(kind) and not pa.types.is_null(kind):
        found = next((v for v in table.column(name).slice(0, 1000).to_pylist() if v is not None), None)
        raise DataError(f"column {name!r} holds {kind} such as {found!r}; expected numbers")


def _measured(table: pa.Table, name: str) -> bool:
    return is_number(table.column(name).type)


def _rest(table: pa.Table, used: Sequence[str]) -> tuple[str, ...]:
    return tuple(c for c in table.column_names if c not in set(used))


def _listed(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
