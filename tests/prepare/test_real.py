"""On real data: a server of SMD, and the card transactions of the Fraud Detection Handbook."""

import time
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.prepare import Windows, cut_time, new_preparer, split

MINUTE = 60_000_000


def server(make, path):
    raw = pq.read_table(path)
    micros = pc.multiply(raw["t"].cast(pa.int64()), MINUTE)
    channels = [n for n in raw.column_names if n.startswith("f")]
    data = {f"c{i}": raw[name].cast(pa.float64()) for i, name in enumerate(channels)}
    return pa.table({"entity": ["m"] * len(raw), "time": micros.cast(make.TIME), **data})


def test_a_server_of_smd_prepares_to_a_usual_spread_and_its_faults_stand_out(make, real):
    stream = make.sensor(38, length=32)
    train = server(make, real("smd/machine-1-2_train.parquet"))
    test = server(make, real("smd/machine-1-2_test.parquet"))
    label = np.array(pq.read_table(real("smd/machine-1-2_test.parquet"))["label"]) > 0
    preparer = new_preparer(stream).fit(train)
    (usual,), (judged,) = preparer.transform(train), preparer.transform(test)
    assert usual.mask.all()
    assert (np.abs(usual.values) >= 8).mean() < 0.02
    moves = np.ptp(usual.values, axis=0) > 0
    assert (np.abs(np.median(usual.values[:, moves], axis=0)) < 0.1).all()
    away = np.abs(judged.values).mean(axis=1)
    assert away[label].mean() > 1.5 * away[~label].mean()
    assert len(Windows([judged], 32, 4, step_us=MINUTE)) == len(judged) // 4


def test_four_months_of_card_transactions_prepare_in_seconds(make, real):
    raw = pq.read_table(real("fraud_handbook/transactions.parquet"))
    table = pa.table(
        {
            "id": raw["TRANSACTION_ID"].cast(pa.string()),
            "entity": raw["CUSTOMER_ID"].cast(pa.string()),
            "time": raw["TX_DATETIME"].cast(pa.timestamp("us")).cast(make.TIME),
            "amount": pc.divide(raw["TX_CENTS"].cast(pa.float64()), 100.0),
            "terminal": raw["TERMINAL_ID"].cast(pa.string()),
        }
    ).slice(0, 300_000)
    stream = make.cards(categories=("terminal",), length=16)
    cut = cut_time(table, 0.3)
    began = time.process_time()
    preparer = new_preparer(stream).fit(table, until=cut)
    series = preparer.transform(table)
    assert time.process_time() - began < 30
    assert sum(map(len, series)) == len(table)
    parts = split(series, cut, preparer.embargo // timedelta(microseconds=1), 16)
    windows = Windows(parts.held_out, 16, 1, step_us=None, since=parts.since)
    values, mask = windows.gather(np.arange(0, len(windows), 50))
    assert np.isfinite(values).all()
    assert mask[:, -1].mean() > 0.95
    assert fraud_rank(preparer, series, raw) > 0.6


def fraud_rank(preparer, series, raw):
    """How often a fraud's amount lies further above its card's own than an honest one's."""
    fraud = np.array(raw["TX_FRAUD"]) > 0
    column = preparer.features_.names.index("amount against own")
    rows = np.concatenate([s.ids for s in series]).astype(int)
    above = np.concatenate([s.values[:, column] for s in series])
    rank = np.argsort(np.argsort(above))
    chosen = fraud[rows]
    low = chosen.sum() * (chosen.sum() - 1) / 2
    return (rank[chosen].sum() - low) / (chosen.sum() * (~chosen).sum())
