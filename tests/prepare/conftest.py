"""Builders of streams and tables, and a way to compare what a slice and the whole were made into."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from pipeline.config.models import (
    Channel,
    FilesSource,
    Grid,
    SensorFields,
    SensorStream,
    TransactionFields,
    TransactionStream,
    Window,
)

TIME = pa.timestamp("us", tz="UTC")


def sensor(channels=2, step=60, aggregate="mean", hold=3, length=8, stride=4, delay=3) -> SensorStream:
    return SensorStream(
        name="pumps",
        kind="sensor",
        source=FilesSource(path="in"),
        fields=SensorFields(channels=tuple(Channel(name=f"c{i}") for i in range(channels))),
        grid=Grid(step=timedelta(seconds=step), aggregate=aggregate, hold=hold),
        window=Window(length=length, stride=stride, delay=delay),
    )


def cards(categories=("terminal", "country"), context=30, length=8) -> TransactionStream:
    return TransactionStream(
        name="cards",
        kind="transaction",
        source=FilesSource(path="in"),
        fields=TransactionFields(id="id", entity="card", amount="amount", categories=categories),
        window=Window(length=length, stride=1, delay=0, context=timedelta(days=context)),
    )


def readings(entity, seconds, *channels) -> pa.Table:
    """A table of sensor readings; times in seconds since the epoch."""
    micros = [round(s * 1e6) for s in seconds]
    columns = {f"c{i}": pa.array(list(map(float, c)), pa.float64()) for i, c in enumerate(channels)}
    names = pa.array([entity] * len(micros) if isinstance(entity, str) else list(entity), pa.string())
    return pa.table({"entity": names, "time": pa.array(micros, pa.int64()).cast(TIME), **columns})


def payments(rows, seed=0, entities=5, days=40, categories=("terminal", "country")) -> pa.Table:
    """A table of made-up transactions in random order."""
    rng = np.random.default_rng(seed)
    micros = rng.integers(0, days * 86400, rows) * 1_000_000 + 1_500_000_000_000_000
    columns = {name: pa.array(rng.choice([*"abcdefgh"], rows)) for name in categories}
    return pa.table(
        {
            "id": [f"t{i}" for i in range(rows)],
            "entity": [f"card{i}" for i in rng.integers(0, entities, rows)],
            "time": pa.array(micros, pa.int64()).cast(TIME),
            "amount": rng.lognormal(3, 1, rows).round(2),
            **columns,
        }
    )


def cut(table, start=None, until=None) -> pa.Table:
    """Rows with start ≤ time < until, microseconds."""
    time = table["time"].cast(pa.int64()).to_numpy()
    low, high = time.min() if start is None else start, time.max() + 1 if until is None else until
    return table.filter(pa.array((time >= low) & (time < high)))


def by_row(series, start=None, until=None) -> dict:
    """Every prepared row as exact bytes, keyed by entity, time and id."""
    found = {}
    for s in series:
        for i, time in enumerate(s.time.tolist()):
            if (start is None or time >= start) and (until is None or time < until):
                key = (s.entity, time, None if s.ids is None else s.ids[i])
                assert key not in found
                found[key] = (s.values[i].tobytes(), s.mask[i].tobytes(), s.actual[i].tobytes())
    return found


def by_window(windows, series, start=None, until=None) -> dict:
    """Every window as exact bytes, keyed by entity, end time and row id."""
    values, mask = windows.gather(slice(None))
    found = {}
    for n, (which, end, time) in enumerate(
        zip(windows.series_index, windows.end, windows.end_time.tolist(), strict=True)
    ):
        if (start is None or time >= start) and (until is None or time < until):
            s = series[which]
            found[s.entity, time, None if s.ids is None else s.ids[end]] = (
                values[n].tobytes(),
                mask[n].tobytes(),
            )
    return found


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    return SimpleNamespace(
        sensor=sensor,
        cards=cards,
        readings=readings,
        payments=payments,
        cut=cut,
        by_row=by_row,
        by_window=by_window,
        TIME=TIME,
    )


@pytest.fixture(scope="session")
def real() -> Callable[[str], Path]:
    """Finds a file of the labelled data, or skips."""
    root = Path(os.environ.get("OFFBEAT_DATA", "../shared/data"))

    def find(name: str) -> Path:
        if not (root / name).exists():
            pytest.skip(f"no {name} under {root}: set OFFBEAT_DATA to the labelled data")
        return root / name

    return find
