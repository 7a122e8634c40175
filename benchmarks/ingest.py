"""How fast records go from CSV into the store, beside the ceiling: Arrow's reader and Delta's writer alone.

    python -m benchmarks.ingest --rows 2000000
    python -m benchmarks.ingest --gib 1

One run each of: the ceiling; Offbeat on clean files; Offbeat with 1 % bad records; transactions into a table
that holds as many already. Each runs in a process of its own, which also tells its peak memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv

from pipeline.config.models import SensorStream, Stream, TransactionStream
from pipeline.sources import open_source
from pipeline.store.observations import ObservationStore

BATCH_ROWS = 500_000  # as in pipeline.steps.ingest
FILE_ROWS = 1_000_000
ENTITIES = 20
START = 1_735_689_600  # 2025-01-01


def sensor(folder: Path) -> Stream:
    fields = {"entity": "machine", "channels": [{"name": f"c{i}", "max": 1e6} for i in range(5)]}
    return _stream({"kind": "sensor", "fields": fields}, folder)


def cards(folder: Path) -> Stream:
    fields = {"id": "id", "entity": "card", "amount": "amount", "categories": ["terminal"]}
    return _stream({"kind": "transaction", "fields": fields}, folder)


def _stream(config: dict[str, Any], folder: Path) -> Stream:
    kind = SensorStream if config["kind"] == "sensor" else TransactionStream
    return kind.model_validate({"name": "bench", "source": {"path": str(folder)}, **config}, strict=False)


def write_readings(folder: Path, rows: int, *, bad: float = 0.0) -> int:
    """Write readings of ENTITIES machines, one a second each; return the bytes."""
    rng, folder_bytes = np.random.default_rng(7), 0
    folder.mkdir(parents=True)
    for number, first in enumerate(range(0, rows, FILE_ROWS)):
        count = min(FILE_ROWS, rows - first)
        second = (first + np.arange(count)) // ENTITIES + START
        stamps = np.datetime_as_string(second.astype("datetime64[s]"), unit="s")
        columns: dict[str, Any] = {
            "time": pa.array(stamps),
            "machine": pa.array([f"pump-{i % ENTITIES:02d}" for i in range(count)]),
            **{f"c{i}": pa.array(np.round(rng.normal(50, 10, count), 3)) for i in range(5)},
        }
        if bad:
            text = columns["c3"].cast(pa.string()).to_numpy(zero_copy_only=False)
            text[rng.random(count) < bad] = "broken"
            columns["c3"] = pa.array(text)
        path = folder / f"{number:04d}.csv"
        arrow_csv.write_csv(pa.table(columns), path, arrow_csv.WriteOptions(quoting_style="none"))
        folder_bytes += path.stat().st_size
    return folder_bytes


def write_payments(folder: Path, rows: int, first: int = 0) -> None:
    """Write payments with random-looking ids, so that no order of ids helps."""
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(first, first + rows, FILE_ROWS):
        number = np.arange(start, min(start + FILE_ROWS, first + rows))
        scrambled = (number.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)).astype(str)
        stamps = np.datetime_as_string((START + number // 50).astype("datetime64[s]"), unit="s")
        table = pa.table(
            {
                "id": pa.array(np.char.add("tx-", scrambled)),
                "card": pa.array(np.char.add("card-", (number % 5000).astype(str))),
                "time": pa.array(stamps),
                "amount": pa.array(np.round(number % 977 / 7, 2)),
                "terminal": pa.array(np.char.add("t-", (number % 300).astype(str))),
            }
        )
        path = folder / f"{start:012d}.csv"
        arrow_csv.write_csv(table, path, arrow_csv.WriteOptions(quoting_style="none"))


def offbeat(stream: Stream, tables: Path) -> int:
    """Ingest to the end; return how many records were received."""
    store = ObservationStore(stream, str(tables / "observations"), str(tables / "rejects"))
    source, before = open_source(stream, Path("/")), store.state()
    state, more = before, True
    while more:
        batch = source.read(state.position, BATCH_ROWS)
        state = store.append(state, batch.records, batch.rejects, batch.received, batch.position)
        more = batch.more
    totals = state.totals
    assert totals.received == totals.stored + totals.duplicate + totals.rejected
    return totals.received - before.totals.received


def ceiling(folder: Path, tables: Path) -> int:
    """Read and write with nothing between: no check, no duplicate found, no position kept."""
    from deltalake import write_deltalake

    rows = 0
    for batch in _arrow_batches(folder):
        table = batch.append_column("date", batch["time"].cast(pa.date32()))
        write_deltalake(str(tables), table, mode="append", partition_by=["date"])
        rows += len(table)
    return rows


def _arrow_batches(folder: Path) -> Iterator[pa.Table]:
    for path in sorted(folder.iterdir()):
        held: list[pa.RecordBatch] = []
        for batch in arrow_csv.open_csv(path, arrow_csv.ReadOptions(block_size=8 << 20)):
            held.append(batch)
            if sum(b.num_rows for b in held) >= BATCH_ROWS:
                yield pa.Table.from_batches(held)
                held = []
        if held:
            yield pa.Table.from_batches(held)


def measure(case: str, folder: Path, tables: Path) -> None:
    """Run one case in this process, and print its figures as JSON."""
    stream = cards(folder) if case == "cards" else sensor(folder)
    began = time.perf_counter()
    rows = ceiling(folder, tables) if case == "ceiling" else offbeat(stream, tables)
    seconds = time.perf_counter() - began
    print(json.dumps({"rows": rows, "seconds": seconds, "peak_mib": _peak_mib()}))


def _peak_mib() -> float:
    """Return the most memory this program held; getrusage would count the one that started it, too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def case(title: str, name: str, folder: Path, tables: Path) -> dict[str, float]:
    """Run one case in a process of its own, and print a line."""
    arguments = [sys.executable, "-m", "benchmarks.ingest", "--case", name, str(folder), str(tables)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    rate = found["rows"] / found["seconds"]
    print(
        f"{title:<44} {found['rows']:>11,.0f} rows {rate:>11,.0f} rows/s {found['peak_mib']:>7,.0f} MiB peak"
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--gib", type=float, help="size of the clean input instead of --rows")
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        measure(options.case[0], Path(options.case[1]), Path(options.case[2]))
        return
    rows = options.rows if options.gib is None else int(options.gib * 2**30 / 62.4)
    with tempfile.TemporaryDirectory() as made:
        work = Path(made)
        size = write_readings(work / "clean", rows)
        print(
            f"{size / 2**30:.2f} GiB of CSV, {size / rows:.0f} bytes a row, 5 channels, {ENTITIES} machines"
        )
        best = case("ceiling: Arrow reads, Delta writes", "ceiling", work / "clean", work / "t0")
        ours = case("Offbeat, clean", "clean", work / "clean", work / "t1")
        print(f"{'':<44} {best['seconds'] / ours['seconds']:>11.0%} of the ceiling")
        few = min(rows, 2_000_000)
        write_readings(work / "dirty", few, bad=0.01)
        case("Offbeat, 1 % bad records", "dirty", work / "dirty", work / "t2")
        write_payments(work / "cards", few)
        case("Offbeat, transactions", "cards", work / "cards", work / "t3")
        write_payments(work / "cards", few // 2, first=few)
        case(f"Offbeat, transactions beside {few:,} stored", "cards", work / "cards", work / "t3")


if __name__ == "__main__":
    main()
