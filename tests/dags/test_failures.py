"""A step that gives up is told to the stream's receivers, once, and resolved when it works again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.dags.conftest import Parse, Project, stream
from tests.dags.test_runs import run

pytestmark = [pytest.mark.airflow, pytest.mark.slow]


def test_a_step_that_gives_up_is_told_and_resolved(
    project: Project, parse: Parse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.steps import Offbeat

    project.add("pumps", stream(Path("${env:FEED_OF_PUMPS}")))
    bag = parse()
    for _ in range(2):
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("FEED_OF_PUMPS", raising=False)
            assert run(bag, "ingest__pumps")[0] == "failed"
    (found,) = Offbeat.open().anomalies("pumps")
    assert (found["kind"], found["entity"], found["status"]) == ("failure", "ingest", "open")
    feed = tmp_path / "feed"
    feed.mkdir()
    monkeypatch.setenv("FEED_OF_PUMPS", str(feed))
    assert run(bag, "ingest__pumps")[1] == {"ingest": ["skipped"]}, "it works, and there was nothing"
    Offbeat.open().deliver()
    lines = (project.root / "home" / "alerts" / "pumps.jsonl").read_text().splitlines()
    titles = [json.loads(line)["title"] for line in lines]
    assert len(titles) == 2
    assert titles[0].startswith("pumps: ingest has failed at ")
    assert "ConfigError" in titles[0]
    assert "ingest works again" in titles[1]
