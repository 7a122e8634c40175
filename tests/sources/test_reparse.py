"""Rejects read again under another config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline import schemas
from pipeline.sources import reparse
from tests.sources.kit import HEADER, drain, sensor, write

LIMITED: list[dict[str, Any]] = [{"name": "a", "max": 10}, {"name": "b"}]


def test_what_passes_now_is_a_record_and_the_rest_stays_under_its_id(tmp_path: Path) -> None:
    write(tmp_path / "f.csv", "b,a,machine,time\n1,20,p1,2026-01-01\n1,x,p1,2026-01-01\n")
    write(tmp_path / "f.jsonl", '{"time": "2026-01-02", "machine": "p1", "a": 11}\n{\n')
    rejects = drain(sensor(tmp_path, LIMITED)).rejects
    assert len(rejects) == 4
    batch = reparse(sensor(tmp_path), rejects)
    assert sorted(r["a"] for r in batch.records.to_pylist()) == [11, 20]
    assert set(batch.rejects["reject"].to_pylist()) < set(rejects["reject"].to_pylist())
    assert batch.received == 4
    assert len(batch.rejects) == 2


def test_a_part_of_a_line_never_passes_for_the_whole(tmp_path: Path) -> None:
    write(tmp_path / "f.csv", HEADER + "2026-01-01,p1,1," + "1" * (65 << 10) + "\n")
    rejects = drain(sensor(tmp_path)).rejects
    assert len(rejects) == 1
    assert not len(reparse(sensor(tmp_path), rejects).records)


def test_nothing_to_read_again(tmp_path: Path) -> None:
    batch = reparse(sensor(tmp_path), schemas.REJECTS.empty_table())
    assert (batch.received, len(batch.records)) == (0, 0)


def test_further_columns_of_the_table_are_ignored(tmp_path: Path) -> None:
    write(tmp_path / "f.csv", HEADER + "x,p1,1,2\n")
    rejects = drain(sensor(tmp_path)).rejects.append_column("batch", pa.array([1]))
    assert len(reparse(sensor(tmp_path), rejects).rejects) == 1
