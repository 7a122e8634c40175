"""Metrics say what operators ask, in Prometheus's own format, and one broken stream hides no other."""

from __future__ import annotations

import socket
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from pipeline import cli
from pipeline.errors import DataError
from pipeline.home import Home
from pipeline.steps import Offbeat, inspect, metrics
from tests.steps import kit

BAD = [
    ["2026-03-01T00:40:00Z", "a", "lots", "1"],
    ["2026-03-01T00:41:00Z", "a", "few", "1"],
    ["2026-03-01T00:42:00Z", "", "1", "1"],
]


def numbers(home: Home) -> dict[tuple[str, ...], float]:
    shown = metrics.text(lambda: Offbeat.open(home))
    return {
        (
            sample.name,
            sample.labels["stream"],
            *(v for k, v in sample.labels.items() if k != "stream"),
        ): sample.value
        for family in text_string_to_metric_families(shown)
        for sample in family.samples
    }


def test_counts_times_champion_and_open_anomalies(home: Home) -> None:
    kit.feed(home, "later.csv", [*kit.plant(2 * kit.DAY, 340), *BAD])
    kit.judge_all(home)
    found, state = numbers(home), Offbeat.open(home).status()[0]
    assert found["offbeat_stream_up", "plant"] == 1
    for outcome in ("received", "stored", "duplicate", "rejected"):
        assert found["offbeat_records_total", "plant", outcome] == state[outcome]
    assert found["offbeat_rejects", "plant", "flow: … is not a finite number"] == 2
    assert found["offbeat_rejects", "plant", "pump: missing; expected text"] == 1
    newest = found["offbeat_newest_record_timestamp_seconds", "plant"]
    assert newest == (kit.START + (2 * kit.DAY + 339) * kit.MINUTE).timestamp()
    assert found["offbeat_scored_until_timestamp_seconds", "plant"] == newest
    assert found["offbeat_champion_version", "plant"] == 1
    assert found["offbeat_source_lag", "plant", "bytes"] == state["lag"] == 0
    assert state["rejects"] == {"flow: … is not a finite number": 2, "pump: missing; expected text": 1}
    assert found["offbeat_late_records_total", "plant", "within"] == 0
    asked = datetime.fromtimestamp(found["offbeat_last_score_timestamp_seconds", "plant"], UTC)
    assert asked.isoformat(timespec="seconds") == state["scored"]
    assert found["offbeat_champion_created_timestamp_seconds", "plant"] < time.time()
    opened = {key[2]: value for key, value in found.items() if key[0] == "offbeat_open_anomalies"}
    assert sum(opened.values()) == state["open_anomalies"] > 0


def test_a_stream_that_cannot_be_read_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = kit.project(tmp_path, plant=kit.PLANT, torn=kit.PLANT, bad=kit.PLANT.replace("merge:", "mergee:"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    kit.feed(home, "one.csv", kit.plant(0, 30))
    Offbeat.open(home).ingest("plant")
    broken = Path(home.table("torn", "observations")) / "_delta_log"
    broken.mkdir(parents=True)
    (broken / f"{0:020d}.json").write_text("{")
    found = numbers(home)
    assert [found["offbeat_stream_up", name] for name in ("plant", "torn", "bad")] == [1, 0, 0]
    assert found["offbeat_records_total", "plant", "stored"] == 60
    assert not any(key[1:2] == ("torn",) for key in found if key[0] != "offbeat_stream_up")


def test_reasons_are_few_however_many_values_there_are() -> None:
    many = {f"a: 'x{i}' is not a finite number": 1 for i in range(1000)}
    odd = {f"key{chr(97 + i)}: is odd": 1 for i in range(26)}
    found = inspect.by_reason(many | odd)
    assert found["a: … is not a finite number"] == 1000
    assert len(found) == inspect.REASONS + 1
    assert sum(found.values()) == 1026


def test_they_are_served(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("HOME", home.root), ("PROJECT", home.project), ("CONFIGS", home.configs)):
        monkeypatch.setenv(f"OFFBEAT_{name}", str(value))
    shown = CliRunner().invoke(cli.app, ["metrics"])
    assert "# TYPE offbeat_records_total counter" in shown.stdout
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["metrics", "--port", str(port)]
    threading.Thread(target=CliRunner().invoke, args=(cli.app, arguments), daemon=True).start()
    for _ in range(100):
        try:
            answer = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30)
            break
        except httpx.TransportError:
            time.sleep(0.1)
    assert answer.text == shown.stdout


def test_rejects_are_discarded_by_id_or_by_reason(home: Home) -> None:
    kit.feed(home, "later.csv", BAD)
    work = Offbeat.open(home)
    work.ingest("plant")
    one = next(r["reject"] for r in work.rejects("plant") if "missing" in r["reason"])
    assert work.discard("plant", ids=[one])["left"] == 2
    told = work.discard("plant", reason="lots")
    assert (told["discarded"], told["left"]) == (1, 1)
    assert [r["reason"] for r in work.rejects("plant")] == ["flow: 'few' is not a finite number"]


@pytest.mark.parametrize("arguments", [[], ["abc", "--reason", "x"]])
def test_what_to_discard_must_be_said(home: Home, arguments: list[str]) -> None:
    shown = CliRunner().invoke(cli.app, ["rejects", "discard", "plant", *arguments])
    assert isinstance(shown.exception, DataError)
    with pytest.raises(DataError, match="say which"):
        Offbeat.open(home).discard("plant")
