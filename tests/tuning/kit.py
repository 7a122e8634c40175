"""Small streams with habits, for tests of tuning."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa

from pipeline.config.models import SensorStream, Stream, TransactionStream, parse_stream
from pipeline.schemas import TIME, records

MINUTE = 60_000_000
DAY = 1440 * MINUTE
T0 = 20_500 * DAY
SOURCE = {"path": "data/x"}


def stream(**sections) -> Stream:
    return parse_stream(json.dumps({"name": "x", "source": SOURCE, **sections}))


def plant(channels=3, **sections) -> SensorStream:
    named = [{"name": f"c{i}"} for i in range(channels)]
    return stream(kind="sensor", fields={"entity": "pump", "channels": named}, **sections)


def shop(**sections) -> TransactionStream:
    fields = {"id": "id", "entity": "card", "amount": "amount", "categories": ["country", "shop"]}
    return stream(kind="transaction", fields=fields, **sections)


def readings(about: SensorStream, entities=("a", "b"), rows=2000, seconds=60, seed=0) -> pa.Table:
    """Swings with noise; each channel and entity at a level of its own."""
    parts = []
    for number, entity in enumerate(entities):
        draw = np.random.default_rng([seed, number])
        time = T0 + np.arange(rows) * seconds * 1_000_000
        swing = np.sin(2 * np.pi * time / DAY * 8 + number)
        values = [
            100 * (c + 1) + 10 * swing * (-1) ** c + draw.normal(size=rows)
            for c in range(len(about.channels))
        ]
        columns = {name: pa.array(column) for name, column in zip(about.channels, values, strict=True)}
        parts.append(
            pa.table({"entity": [entity] * rows, "time": pa.array(time, pa.int64()).cast(TIME), **columns})
        )
    return pa.concat_tables(parts).cast(records(about))


def payments(about: TransactionStream, entities=12, rows=60, seed=0) -> pa.Table:
    """Daytime payments, each card in two countries and three shops of its own."""
    draw = np.random.default_rng(seed)
    made = []
    for e in range(entities):
        for i in range(rows):
            when = T0 + (i // 2) * DAY + int(draw.integers(9 * 60, 18 * 60)) * MINUTE
            amount = float(np.exp(draw.normal(3, 0.3)))
            country, shop_ = f"C{(e + draw.integers(2)) % 5}", f"S{(e * 3 + draw.integers(3)) % 17}"
            made.append({"id": f"{e}-{i}", "entity": f"card{e}", "time": when, "amount": amount,
                         "country": country, "shop": shop_})  # fmt: skip
    columns = {name: [row[name] for row in made] for name in made[0]}
    columns["time"] = pa.array(columns["time"], pa.int64()).cast(TIME)
    return pa.table(columns).cast(records(about))
