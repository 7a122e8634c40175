"""A table as a stream: its configuration in memory, its rows as observations, and which row is which.

In: a table and an ask. Out: `Layout`. Columns may have any name: a stream knows them by safe ones.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline import schemas
from pipeline.config.models import COLUMN, RESERVED, Rate, SensorStream, Stream, Training, TransactionStream
from pipeline.errors import DataError
from pipeline.oneshot import presets
from pipeline.oneshot.ask import Ask, columns_of
from pipeline.oneshot.clock import Clock, Ints, clock, fit_grid
from pipeline.schemas import TIME

ALONE = "all"
"""The entity of a table that names none."""
_SAFE = re.compile(COLUMN.replace("$", r"\Z"))
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Layout:
    """A table as a stream sees it."""

    stream: Stream
    records: pa.Table
    """Observations, one for each row and in the same order."""
    train: NDArray[np.bool_]
    """Rows that are learned from [N]."""
    entity: Ints
    """Code of each row's entity [N]."""
    entities: list[str]
    time: Ints
    """When each row is for the stream, microseconds [N]."""
    clock: Clock
    order: Ints
    """Rows in order of entity and time [N]."""
    names: dict[str, str]
    """What people call a channel, by what the stream calls it."""
    notes: tuple[str, ...] = field(default=())
    """What a person should know about how the table was read."""


def lay_out(table: pa.Table, ask: Ask) -> Layout:
    """Make a stream of a table.

    Raises:
        DataError: the table is not what was asked about; says what to do.
    """
    columns = columns_of(table, ask)
    entity, entities = entities_of(table, ask.entity)
    time = clock(table, ask.time, entity)
    train = _train(time, ask)
    if ask.kind == "transaction":
        return _transactions(table, ask, entity, entities, time, train)
    return _sensors(table, ask, columns.channels, entity, entities, time, train)


def safe_names(names: Sequence[str], taken: frozenset[str] = RESERVED) -> list[str]:
    """Return names that a stream may use, each told from the others, as near to the given as can be."""
    used, out = {t.casefold() for t in taken}, []
    for number, name in enumerate(names):
        made = name
        if not _SAFE.match(name) or name.casefold() in used:
            plain = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:100]
            made = f"c{number}_{plain}".rstrip("_")
        while made.casefold() in used:
            made += "_"
        used.add(made.casefold())
        out.append(made)
    return out


def _sensors(
    table: pa.Table, ask: Ask, channels: Sequence[str], entity: Ints, entities: list[str], time: Clock,
    train: NDArray[np.bool_],
) -> Layout:  # fmt: skip
    grid = fit_grid(time, entity)
    safe = safe_names(channels)
    order = np.lexsort((grid.cell, entity))
    rows = int(np.bincount(entity[train]).max())
    seconds = grid.step.total_seconds()
    stream = SensorStream.model_validate(
        {
            **_common(ask, rows),
            "kind": "sensor",
            "fields": {"channels": tuple({"name": name} for name in safe)},
            "grid": {"step": grid.step},
            "window": presets.window(rows),
            "alert": {
                "false_alarms": _budget(ask, len(np.unique(entity)) / seconds, time),
                "merge": presets.MERGE_STEPS * grid.step,
            },
        }
    )
    records = _records(entity, entities, grid.time)
    for name, column in zip(safe, channels, strict=True):
        records = records.append_column(name, _floats(table.column(column)))
    names = dict(zip(safe, channels, strict=True))
    notes = _notes(grid.cell[order], entity[order], ask)
    return Layout(stream, records, train, entity, entities, grid.time, time, order, names, notes)


def _transactions(
    table: pa.Table, ask: Ask, entity: Ints, entities: list[str], time: Clock, train: NDArray[np.bool_]
) -> Layout:
    assert ask.amount is not None
    micros = np.rint(time.value * time.micros).astype(np.int64)
    safe = safe_names(ask.categories, RESERVED | {"pace", "label"})
    span = max(float(micros.max() - micros.min()) / 1e6, 1.0)
    stream = TransactionStream.model_validate(
        {
            **_common(ask, int(train.sum())),
            "kind": "transaction",
            "fields": {
                **{"id": "id", "entity": "entity", "amount": "amount", "categories": tuple(safe)},
                **({"label": "label", "label_delay": ask.label_delay} if ask.label_delay else {}),
            },
            "alert": {"false_alarms": _budget(ask, table.num_rows / span, time)},
        }
    )
    number = np.char.zfill(np.arange(table.num_rows).astype(str), 12)
    records = _records(entity, entities, micros).append_column("id", pa.array(number, pa.string()))
    records = records.append_column("amount", _floats(table.column(ask.amount)))
    if ask.label_delay and ask.label:
        records = records.append_column("label", _floats(table.column(ask.label)))
    for name, column in zip(safe, ask.categories, strict=True):
        records = records.append_column(name, _texts(table.column(column)))
    records = records.select(schemas.records(stream).names)
    names = {c: c for c in stream.channels} | dict(zip(safe, ask.categories, strict=True))
    order = np.lexsort((np.arange(len(micros)), micros, entity))
    return Layout(stream, records, train, entity, entities, micros, time, order, names)


def _common(ask: Ask, rows: int) -> dict[str, Any]:
    length = presets.window(rows).get("length", 32)
    return {
        "name": ask.name,
        "source": {"path": "."},
        "model": {**presets.PRESETS[ask.preset], "seed": ask.seed},
        "training": {"holdout": presets.holdout(rows, length, Training().holdout)},
    }


def _budget(ask: Ask, rows_per_second: float, time: Clock) -> Rate:
    try:
        return presets.budget(ask.false_alarms, rows_per_second, real=time.real)
    except ValueError as error:
        raise DataError(f"--false-alarms: {ask.false_alarms!r}: {error}") from None


def _train(time: Clock, ask: Ask) -> NDArray[np.bool_]:
    train = np.ones(len(time.value), np.bool_)
    if ask.train_rows is not None:
        train[ask.train_rows :] = False
    if ask.train_from is not None:
        train &= time.value >= time.read(ask.train_from, "--train-from")
    if ask.train_until is not None:
        train &= time.value < time.read(ask.train_until, "--train-until")
    if not train.any():
        raise DataError(
            "no row is left to learn from: look at --train-rows, --train-from and --train-until; "
            f"the time column runs from {time.value.min()} to {time.value.max()} in its own units"
        )
    return train


def _records(entity: Ints, entities: list[str], micros: Ints) -> pa.Table:
    names = pa.DictionaryArray.from_arrays(pa.array(entity, pa.int32()), pa.array(entities, pa.string()))
    return pa.table({"entity": names, "time": pa.array(micros, pa.int64()).cast(TIME)})


def entities_of(table: pa.Table, name: str | None) -> tuple[Ints, list[str]]:
    """Return a code per row and what the codes stand for, in the order of their texts."""
    if name is None:
        return np.zeros(table.num_rows, np.int64), [ALONE]
    encoded = pc.dictionary_encode(_texts(table.column(name))).combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0)
    texts = encoded.dictionary.to_pylist()
    rank = np.empty(len(texts), np.int64)
    ordered = sorted(range(len(texts)), key=texts.__getitem__)
    rank[ordered] = np.arange(len(texts))
    codes = rank[encoded.indices.to_numpy(zero_copy_only=False)]
    return codes, [texts[i] for i in ordered]


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        raise DataError(f"a column of {column.type} cannot name anything; expected text or numbers")
    return pc.fill_null(column.cast(pa.string()), "")


def _floats(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    return column.cast(pa.float64(), safe=False)


def _notes(cell: Ints, entity: Ints, ask: Ask) -> tuple[str, ...]:
    same = (np.diff(cell) == 0) & (np.diff(entity) == 0)
    if len(cell) < 2 or (share := float(same.mean())) < 0.2:
        return ()
    hint = "" if ask.entity else " If several machines are in one table, name the column by --entity."
    return (f"{share:.0%} of rows share their time step with another row, and its score.{hint}",)
