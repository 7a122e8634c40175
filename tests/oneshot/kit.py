"""Tables to detect in, with faults in known rows."""

import numpy as np
import pyarrow as pa

STRANGE = "flow, m³/h (<b>north</b>)"
FAULT = slice(1700, 1740)


def plant(rows=2000, seed=3):
    """One machine, a row each minute, a fault in FAULT."""
    rng, at = np.random.default_rng(seed), np.arange(rows)
    phase = np.sin(at / 40)
    label = np.zeros(rows, np.int64)
    label[FAULT] = 1
    flow = 10 + 3 * phase + rng.normal(0, 0.1, rows)
    flow[FAULT] = 2
    return pa.table(
        {
            "ts": np.datetime64("2026-03-01T00:00", "us") + at * np.timedelta64(60_000_000, "us"),
            "pressure": 5 + phase + rng.normal(0, 0.05, rows),
            "flow": flow,
            "label": label,
        }
    )


def messy(rows=1200, seed=5):
    """Three machines in one table that has all that can be wrong with one; machine c never measured anything.

    Rows are shuffled, spaced with jitter and gaps, repeated; columns are constant, boolean, integer, missing,
    infinite, and strangely named.
    """
    rng = np.random.default_rng(seed)
    at = np.tile(np.arange(rows // 2), 2) * 60 + rng.integers(-9, 9, rows)
    at[300:] += 4000
    at[700] = at[699]
    machine = np.repeat(["a", "b"], rows // 2)
    phase = np.sin(at / 2400)
    level = phase + rng.normal(0, 0.05, rows)
    level[[5, 6, 50]] = [np.nan, np.inf, -np.inf]
    level[200:260] = np.nan
    on, stage = np.sin(at / 1700) > 0, np.rint(3 + 2 * np.sin(at / 1100)).astype(np.int64)
    table = pa.table(
        {
            "when": at,
            "machine": machine,
            STRANGE: level,
            "entity": stage,
            "on": on,
            "constant": np.full(rows, 7),
            "never": pa.nulls(rows, pa.float64()),
            "text": machine,
        }
    )
    silent = table.slice(0, 3).set_column(1, "machine", pa.array(["c"] * 3))
    for name in (STRANGE, "entity", "on", "constant"):
        place = silent.column_names.index(name)
        silent = silent.set_column(place, name, pa.nulls(3, silent.schema.field(name).type))
    whole = pa.concat_tables([table, silent])
    return whole.take(pa.array(np.random.default_rng(1).permutation(whole.num_rows)))


def payments(rows=2400, seed=8):
    """Payments of 40 cards, with ids that repeat, and a spree of large ones at the end of card 7's."""
    rng = np.random.default_rng(seed)
    card = rng.integers(0, 40, rows)
    when = np.sort(rng.integers(0, 20 * 86400, rows))
    cents = np.exp(rng.normal(3 + 0.02 * card, 0.3)) * 100
    spree = np.flatnonzero(card == 7)[-3:]
    cents[spree] *= 60
    fraud = np.zeros(rows, bool)
    fraud[spree] = True
    return pa.table(
        {
            "TX": np.arange(rows) // 2,
            "TX_TIME": np.datetime64("2018-04-01", "s") + when.astype("timedelta64[s]"),
            "CARD": card,
            "CENTS": cents.astype(np.int64),
            "SHOP": rng.integers(0, 12, rows),
            "FRAUD": fraud,
        }
    )
