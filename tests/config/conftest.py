"""A small project of configs that a test may break."""

from collections.abc import Callable
from pathlib import Path

import pytest

SENSOR = """\
kind: sensor
source:
  path: data/plant
fields:
  entity: pump
  channels:
    - {name: pressure, unit: bar}
    - {name: flow, unit: m3/h}
"""
ALERTS = "receivers:\n  log: {type: log}\n  pager: {type: apprise, url: '${env:PAGER}'}\n"


@pytest.fixture
def sensor() -> str:
    """A valid sensor stream."""
    return SENSOR


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Write `configs/` with streams by name, and return the folder."""

    def write(defaults: str = "", alerts: str = ALERTS, **streams: str | bytes) -> Path:
        (tmp_path / "streams").mkdir(exist_ok=True)
        (tmp_path / "alerts.yaml").write_text(alerts)
        if defaults:
            (tmp_path / "defaults.yaml").write_text(defaults)
        for name, text in streams.items():
            data = text if isinstance(text, bytes) else text.encode()
            (tmp_path / "streams" / f"{name}.yaml").write_bytes(data)
        return tmp_path

    return write
