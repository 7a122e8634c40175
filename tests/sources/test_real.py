"""Real streams, as they were published, through every format alike."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest

from pipeline.config.models import SensorStream, TransactionStream
from tests.sources.kit import drain, write

DATA = Path(os.environ.get("OFFBEAT_DATA") or Path(__file__).parents[3] / "shared" / "data")
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no data at {DATA}; set OFFBEAT_DATA")


def skab(folder: Path, pattern: str = "**/*") -> SensorStream:
    table = pq.read_schema(DATA / "skab" / "skab.parquet")
    channels = [{"name": n.replace(" ", "_"), "column": n} for n in table.names[2:10]]
    fields: dict[str, Any] = {"entity": "file", "time": {"column": "datetime"}, "channels": channels}
    source = {"path": str(folder), "pattern": pattern}
    config = {"name": "skab", "kind": "sensor", "source": source, "fields": fields}
    return SensorStream.model_validate(config, strict=False)


def test_skab_reads_alike_from_parquet_csv_and_json(tmp_path: Path) -> None:
    whole = drain(skab(DATA / "skab"), 5000)
    assert (len(whole.records), len(whole.rejects)) == (28_083, 0)
    table = pq.read_table(DATA / "skab" / "skab.parquet").slice(0, 3000)
    arrow_csv.write_csv(table, tmp_path / "f.csv")
    lines = "".join(json.dumps(row, default=str) + "\n" for row in table.to_pylist())
    write(tmp_path / "f.jsonl.gz", gzip.compress(lines.encode()))
    expected = whole.records.slice(0, 3000).combine_chunks()
    assert drain(skab(tmp_path, "*.csv")).records.combine_chunks() == expected
    assert drain(skab(tmp_path, "*.gz")).records.combine_chunks() == expected


def test_a_year_of_cards(tmp_path: Path) -> None:
    fields = {
        "id": "TRANSACTION_ID",
        "entity": "CUSTOMER_ID",
        "time": {"column": "TX_DATETIME"},
        "amount": "TX_CENTS",
        "categories": ["TERMINAL_ID"],
    }
    source = {"path": str(DATA / "fraud_handbook")}
    config = {"name": "cards", "kind": "transaction", "source": source, "fields": fields}
    read = drain(TransactionStream.model_validate(config, strict=False), 300_000)
    assert (len(read.records), len(read.rejects)) == (1_236_698, 0)
    assert read.records["id"][0].as_py() == "0"
    assert read.records["amount"].type == pa.float64()


def test_seconds_since_the_start_are_times_of_1970(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"time": {"column": "t"}, "channels": [{"name": f"f{i:02d}"} for i in range(38)]}
    source = {"path": str(DATA / "smd"), "pattern": "machine-1-2_test.parquet"}
    config = {"name": "smd", "kind": "sensor", "source": source, "fields": fields}
    read = drain(SensorStream.model_validate(config, strict=False), 10_000)
    assert (len(read.records), len(read.rejects)) == (23_694, 0)
    assert read.records["time"].cast(pa.int64())[1].as_py() == 1_000_000
