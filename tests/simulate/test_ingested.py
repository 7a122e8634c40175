"""What the simulator says it put in is what ingest finds, to the line."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.home import Home
from pipeline.simulate import FEEDS, write_history
from pipeline.steps import Offbeat

ROOT = Path(__file__).resolve().parents[2]


def test_received_is_stored_plus_duplicate_plus_rejected_as_labelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OFFBEAT_CONFIGS", "OFFBEAT_TABLES", "OFFBEAT_DATABASE"):
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    labels = write_history(tmp_path / "data", days=7, end=datetime(2026, 3, 1, tzinfo=UTC))
    offbeat = Offbeat.open(Home(tmp_path / "home", tmp_path))
    for name in FEEDS:
        found, known = offbeat.ingest(name), labels[name]
        counts = {k: found[k] for k in ("received", "duplicate", "rejected")}
        assert counts == {
            "received": known.lines,
            "duplicate": known.duplicates,
            "rejected": known.malformed,
        }
        assert found["stored"] == known.lines - known.duplicates - known.malformed
