"""The source that docs/sources.md shows works as it stands there, installed as any package is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "sources.md").read_text()
STREAM = """
kind: sensor
source: {type: counter, until: 25}
fields: {channels: [{name: count, max: 23}]}
"""
OTHER = """
kind: sensor
source: {path: data}
fields: {channels: [{name: count}]}
"""


def shown(language: str) -> str:
    """Return the guide's example in one language."""
    (code,) = re.findall(rf"```{language}\n(.*?)```", GUIDE[GUIDE.index("## Writing another source") :], re.S)
    return code


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose stream asks for the source, and an installed package that has it."""
    (tmp_path / "configs" / "streams").mkdir(parents=True)
    (tmp_path / "configs" / "streams" / "counts.yaml").write_text(STREAM)
    (tmp_path / "configs" / "streams" / "other.yaml").write_text(OTHER)
    (tmp_path / "data").mkdir()
    site = tmp_path / "site"
    (site / "counter-1.0.dist-info").mkdir(parents=True)
    (site / "counter.py").write_text(shown("python"))
    line = shown("toml").splitlines()[1].replace('"', "")
    (site / "counter-1.0.dist-info" / "entry_points.txt").write_text(f"[offbeat.sources]\n{line}\n")
    (site / "counter-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: counter\nVersion: 1.0\n"
    )
    return tmp_path


def offbeat(project: Path, *verb: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join((str(project / "site"), str(ROOT)))
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *verb],
        cwd=project, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip


def test_the_source_of_the_guide_is_ingested_from_once_it_is_installed(project: Path) -> None:
    first = json.loads(offbeat(project, "ingest", "counts", "--json").stdout)
    assert (first["received"], first["stored"], first["rejected"]) == (25, 24, 1)
    again = json.loads(offbeat(project, "ingest", "counts", "--json").stdout)
    assert again["received"] == 0
    assert "count: '24' is above 23" in offbeat(project, "rejects", "list", "counts").stdout
    offbeat(project, "schema", "schemas")
    assert "CounterConfig" in json.loads((project / "schemas" / "stream.schema.json").read_text())["$defs"]


def test_a_key_of_an_installed_source_is_checked_like_ours(project: Path) -> None:
    where = project / "configs" / "streams" / "counts.yaml"
    where.write_text(STREAM.replace("until: 25", "untill: 25"))
    told = offbeat(project, "check")
    assert told.returncode == 3
    assert "counts.yaml:3" in told.stderr
    assert "did you mean until?" in told.stderr


def test_a_package_that_cannot_be_imported_breaks_its_own_streams_alone(project: Path) -> None:
    (project / "site" / "counter.py").write_text("import nothing_of_this_name\n")
    told = json.loads(offbeat(project, "check", "--json").stdout)
    assert (told["streams"], told["broken"]) == (["other"], ["counts"])
    assert "source.type: unknown type" in told["errors"][0]
    assert "No module named 'nothing_of_this_name'" in told["errors"][0]


def test_the_guide_knows_every_source() -> None:
    from pipeline.sources.registry import OPENERS

    rows = re.findall(r"^\| `(\w+)` \|", GUIDE, re.M)
    assert rows[: len(OPENERS)] == list(OPENERS)
    assert set(rows[len(OPENERS) :]) == set(OPENERS), "the table of lags"
