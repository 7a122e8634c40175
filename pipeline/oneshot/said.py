"""Labels that people gave: a file of `offbeat feedback --export` becomes a column of the table.

In: a table, and an ask whose `label` is such a file. Out: the table with a column of 0 and 1, and the ask
that names it.
"""

from __future__ import annotations

import glob
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.errors import DataError
from pipeline.oneshot.ask import Ask
from pipeline.oneshot.clock import clock
from pipeline.oneshot.files import read_table
from pipeline.oneshot.layout import entities_of
from pipeline.prepare import Stretch, touching

COLUMNS = ("entity", "start", "end", "label")


def with_labels(table: pa.Table, ask: Ask) -> tuple[pa.Table, Ask]:
    """Return table and ask as they are, unless `label` is no column of the table but a .parquet file.

    A row is labelled 1 where it lies in a stretch that is labelled so, and 0 elsewhere. In a table that names
    no entity, all stretches are of its one machine.

    Raises:
        DataError: the file holds no such labels, or the table's time is a mere counter.
    """
    if ask.label is None or ask.label in table.column_names or not ask.label.endswith(".parquet"):
        return table, ask
    said = read_table(Path(ask.label))
    if lacking := [name for name in COLUMNS if name not in said.column_names]:
        raise DataError(f"--label: {ask.label} lacks {', '.join(lacking)}; expected {', '.join(COLUMNS)}")
    code, names = entities_of(table, ask.entity)
    time = clock(table, ask.time, code)
    if not time.real:
        raise DataError(
            f"--label: {ask.label} labels times, and the table has none: name its column by --time"
        )
    micros = np.rint(time.value * time.micros).astype(np.int64)
    faults, label = _faults(said, ask), np.zeros(len(table), np.int8)
    for number, name in enumerate(names):
        rows = np.flatnonzero(code == number)
        label[rows] = touching(faults, name, micros[rows], micros[rows])
    column = "label"
    while column in table.column_names:
        column += "_"
    return table.append_column(column, pa.array(label)), replace(ask, label=column)


def _faults(said: pa.Table, ask: Ask) -> list[Stretch]:
    times = (
        said[name].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist() for name in ("start", "end")
    )
    rows = zip(said["entity"].to_pylist(), *times, said["label"].to_pylist(), strict=True)
    return [
        Stretch("*" if ask.entity is None else glob.escape(name), start, end, "label")
        for name, start, end, label in rows
        if label
    ]
