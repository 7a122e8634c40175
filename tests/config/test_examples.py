"""The worked examples load, and say what they mean to teach."""

from pathlib import Path

import pytest

from pipeline.config.loader import load_project
from pipeline.config.models import SensorStream, parse_stream

CONFIGS = Path(__file__).parents[2] / "configs"
PROJECT = load_project(CONFIGS)


def test_nothing_shipped_is_broken() -> None:
    assert PROJECT.errors() == []


def test_the_examples_cover_both_kinds_and_what_was_promised() -> None:
    kinds = {name: stream.kind for name, stream in PROJECT.streams.items()}
    assert (
        kinds.items()
        >= {
            "pump_station": "sensor",
            "server_fleet": "sensor",
            "card_payments": "transaction",
            "marketplace_orders": "transaction",
        }.items()
    )


def test_the_pump_station_measures_what_its_simulator_writes() -> None:
    pumps = PROJECT.streams["pump_station"]
    assert isinstance(pumps, SensorStream)
    assert pumps.units == {
        "pressure": "bar", "flow": "m3/h", "vibration": "mm/s", "temperature": "°C", "power": "kW",
    }  # fmt: skip
    assert pumps.fields.entity == "pump"


def test_the_log_receiver_is_on_and_the_rest_waits_for_its_secrets() -> None:
    assert set(PROJECT.alerts.receivers) == {"log"}


def test_what_is_commented_out_in_alerts_yaml_works_once_it_is_not(tmp_path: Path) -> None:
    lines = (CONFIGS / "alerts.yaml").read_text().splitlines()
    start = lines.index("receivers:")
    live = [x.replace("  # ", "  ", 1) if _is_yaml(x) and i > start else x for i, x in enumerate(lines)]
    (tmp_path / "alerts.yaml").write_text("\n".join(live))
    project = load_project(tmp_path)
    assert not project.broken
    assert set(project.alerts.receivers) == {
        "log", "ticket-system", "slack", "control-room-mail", "alertmanager", "pager", "topic", "events",
    }  # fmt: skip


def _is_yaml(line: str) -> bool:
    body = line.removeprefix("  # ")
    return body != line and (body.startswith("  ") or body.rstrip().endswith(":"))


@pytest.mark.parametrize("name", PROJECT.streams)
def test_every_example_explains_itself(name: str) -> None:
    text = PROJECT.sources[name]
    assert sum("#" in line for line in text.splitlines()) >= 3


@pytest.mark.parametrize("name", sorted(PROJECT.streams))
def test_a_stream_reads_back_from_its_own_json(name: str) -> None:
    stream = PROJECT.streams[name]
    assert parse_stream(stream.model_dump_json()) == stream
