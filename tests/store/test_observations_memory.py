"""Guarantee 18: what ingest holds in memory does not grow with what there is to read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.sources.kit import HEADER, write

PROGRAM = """
import sys
from pathlib import Path
from tests.store import killed_ingest
killed_ingest.LIMIT = 50_000
killed_ingest.ingest(Path(sys.argv[1]), Path(sys.argv[2]))
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


def peak_mib(folder: Path, tables: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, folder, tables],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout) / 1024


def test_memory_does_not_grow_with_the_input(tmp_path: Path) -> None:
    rows = [f"{1767225600 + i // 10},p{i % 10},{i},{i / 7:.3f}\n" for i in range(200_000)]
    for i in range(0, len(rows), 997):
        rows[i] = "x" + rows[i]
    content = HEADER + "".join(rows)
    few, many = tmp_path / "few", tmp_path / "many"
    write(few / "0.csv", content)
    for i in range(6):
        write(many / f"{i}.csv", content.replace(",p", f",p{i}-"))
    assert peak_mib(many, tmp_path / "t1") < peak_mib(few, tmp_path / "t0") + 120
