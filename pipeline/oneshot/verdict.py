"""How well a table was judged, where it brought labels.

In: what was found. Out: `evaluation.Figures` of the rows not learned from, or of all if none is left.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.evaluation import Figures, evaluate
from pipeline.oneshot.ask import is_number
from pipeline.oneshot.detect import Found

_MICROSECOND = timedelta(microseconds=1)


def labels(table: pa.Table, name: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which rows are labelled anomalous, and which are labelled at all [N], [N].

    Raises:
        DataError: the column is not of labels.
    """
    column = table.column(name)
    if not is_number(column.type):
        raise DataError(f"--label: column {name!r} holds {column.type}; expected 0 and 1, or true and false")
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    value = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    known = np.isfinite(value)
    if (value[known] < 0).any():
        raise DataError(
            f"--label: column {name!r} goes down to {value[known].min():g}; expected 0 for normal rows, "
            "anything above for anomalous ones, and nothing where it is unknown"
        )
    return known & (np.nan_to_num(value) > 0), known


def verdict(found: Found) -> Figures | None:
    """Judge what was found by the table's labels; None where it has none."""
    if found.ask.label is None:
        return None
    layout = found.layout
    wrong, known = labels(found.table, found.ask.label)
    rows = layout.order[(known & judged_rows(found))[layout.order]]
    if not len(rows):
        raise DataError(f"--label: column {found.ask.label!r} says nothing of the rows that are judged")
    sensor = found.ask.kind == "sensor"
    signal = found.rows_of(0)[rows] if sensor else None
    return evaluate(
        wrong[rows],
        found.rows.score[rows],
        found.rows.flag[rows],
        entity=layout.entity[rows],
        time=layout.time[rows],
        merge_us=layout.stream.alert.merge // _MICROSECOND,
        days=_days(found, rows) if layout.clock.real else None,
        signal=signal,
    )


def judged_rows(found: Found) -> NDArray[np.bool_]:
    """Return the rows that were not learned from [N]; all, where there is none."""
    train = found.layout.train
    return np.ones(len(train), np.bool_) if train.all() else ~train


def _days(found: Found, rows: NDArray[np.int64]) -> float:
    time = found.layout.time[rows]
    if found.stream.kind == "sensor":
        return len(np.unique(time)) * found.stream.grid.step.total_seconds() / 86_400
    return max(float(time.max() - time.min()) / 1e6, 1.0) / 86_400
