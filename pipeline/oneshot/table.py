"""The table of scores that a person gets: in their own names, types and order.

In: the table that came in, and what was made of its rows. Out: an Arrow table, one row for each.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa

from pipeline.oneshot.ask import Ask
from pipeline.oneshot.layout import ALONE, Layout
from pipeline.oneshot.rows import TOP, RowScores


def scores_table(table: pa.Table, ask: Ask, layout: Layout, rows: RowScores) -> pa.Table:
    """Return entity, time (and id), score, flag (and onset) and the three channels that contributed most.

    `top1_channel`, `top1_share`, `top1_expected`, `top1_actual` and so on are null where there is none;
    expected and actual are in the channel's own units, null where a number means nothing.
    """
    count = table.num_rows
    alone = pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), pa.array([ALONE]))
    columns = {
        "entity": table.column(ask.entity) if ask.entity else alone.cast(pa.string()),
        "time": table.column(ask.time) if ask.time else pa.array(np.arange(count)),
    }
    if ask.id:
        columns["id"] = table.column(ask.id)
    columns |= {"score": pa.array(rows.score), "flag": pa.array(rows.flag)}
    if ask.kind == "sensor":
        columns["onset"] = pa.array(rows.onset)
    names = pa.array([layout.names[c] for c in layout.stream.channels], pa.string())
    for place in range(TOP):
        columns |= _top(rows, place, names)
    return pa.table(columns)


def distinct(table: pa.Table) -> pa.Table:
    """Return the table with columns of the same name told apart: `x`, `x (2)`."""
    if len(set(table.column_names)) == len(table.column_names):
        return table
    taken, seen, names = set(table.column_names), Counter[str](), []
    for name in table.column_names:
        seen[name] += 1
        made, number = name, seen[name]
        while number > 1 and (made := f"{name} ({number})") in taken:
            number += 1
        taken.add(made)
        names.append(made)
    return table.rename_columns(names)


def _top(rows: RowScores, place: int, names: pa.Array) -> dict[str, pa.Array]:
    channel = rows.channel[:, place]
    none = channel < 0
    expected = rows.expected[np.arange(len(channel)), np.maximum(channel, 0)].astype(np.float64)
    expected[none] = np.nan
    top = f"top{place + 1}_"
    return {
        f"{top}channel": names.take(pa.array(channel, mask=none)),
        f"{top}share": pa.array(rows.share[:, place], from_pandas=True),
        f"{top}expected": pa.array(expected, from_pandas=True),
        f"{top}actual": pa.array(rows.actual[:, place], from_pandas=True),
    }
