"""One table, learned from and scored: the same rooms as the pipeline, by `learn` and `Scorer`.

In: a table and an ask. Out: `Found`: a score for every row of the table, in its order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.config.models import Stream
from pipeline.errors import NotEnoughData
from pipeline.learning import Learned, learn
from pipeline.oneshot.anomalies import Anomaly, rank
from pipeline.oneshot.ask import Ask
from pipeline.oneshot.layout import Layout, lay_out
from pipeline.oneshot.rows import RowScores, judge_rows
from pipeline.oneshot.table import distinct, scores_table
from pipeline.scoring import moment

if TYPE_CHECKING:
    from pipeline.models.progress import Epoch


@dataclass(frozen=True)
class Found:
    """A table's scores, and how they came about."""

    scores: pa.Table
    """One row for each of the table's, in its order: see `table.scores_table`."""
    stream: Stream
    learned: Learned
    anomalies: list[Anomaly]
    """The worst first."""
    rows: RowScores
    layout: Layout
    table: pa.Table
    ask: Ask

    def rows_of(self, channel: int) -> NDArray[np.float64]:
        """Return a sensor channel's values, row by row [N]; NaN where nothing was measured."""
        column = self.layout.records.column(self.stream.channels[channel])
        return np.asarray(column.to_numpy(), np.float64)


def detect(
    table: pa.Table,
    ask: Ask,
    *,
    folder: Path,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_rows: Callable[[int, int], None] | None = None,
) -> Found:
    """Learn what is normal in a table, and score all of it.

    Args:
        table: rows in any order; not modified.
        ask: which columns mean what, and what is learned from.
        folder: gets the detector bundle; may be temporary.
        on_epoch: told of each epoch of training.
        on_rows: told how many rows have been scored, and of how many.

    Raises:
        DataError: the table is not what was asked about.
        NotEnoughData: it has too few rows to learn from.
    """
    table = distinct(table)
    layout = lay_out(table, ask)
    records, since, until = _history(layout)
    try:
        learned = learn(layout.stream, records, folder, since=since, labels_until=until, on_epoch=on_epoch)
    except NotEnoughData as error:
        raise NotEnoughData(
            f"{records.num_rows:,} rows are too few to learn from; a few hundred are needed ({error})"
        ) from error
    rows, events = judge_rows(layout, learned.bundle, on_rows)
    return Found(
        scores_table(table, ask, layout, rows),
        layout.stream,
        learned,
        rank(table, ask, layout, rows, events),
        rows,
        layout,
        table,
        ask,
    )


def _history(layout: Layout) -> tuple[pa.Table, datetime | None, datetime | None]:
    """Return the records to learn with, and of transactions from when they are learned from, and until when.

    Payments before those learned from are their context. The labels of all that is learned from are taken
    as known: whoever names a week to learn from says that its frauds have been found.
    """
    train = layout.train
    if train.all():
        return layout.records, None, None
    if layout.stream.kind == "sensor":
        return layout.records.filter(pa.array(train)), None, None
    first, last = layout.time[train].min(), layout.time[train].max()
    earlier = train | (layout.time < first)
    return layout.records.filter(pa.array(earlier)), moment(int(first)), moment(int(last) + 1)
