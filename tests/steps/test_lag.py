"""Lag is asked of all sources at once, and one that does not answer holds nobody."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.home import Home
from pipeline.steps import Offbeat
from pipeline.steps.lag import AT_ONCE, Lag, Lags
from tests.steps import kit

SILENT = kit.PLANT.replace("{path: data/plant, settle: 0s}", "{type: sql, url: '%s', table: t, cursor: id}")


@pytest.fixture
def mute() -> Iterator[int]:
    """A server that takes connections and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield server.getsockname()[1]


@pytest.fixture
def plants(tmp_path: Path, mute: int) -> Home:
    url = f"postgresql://nobody@127.0.0.1:{mute}/none"
    silent = {f"silent{n}": SILENT % url for n in range(5)}
    return kit.project(tmp_path, plant=kit.PLANT, **silent)


def test_sources_that_do_not_answer_hold_nobody(plants: Home) -> None:
    kit.feed(plants, "one.csv", kit.plant(0, 30))
    size = (plants.project / "data" / "plant" / "one.csv").stat().st_size
    work, lags = Offbeat.open(plants), Lags()
    begin = time.monotonic()
    assert lags.ask(work, work.project.streams) == {"plant": Lag(size, "bytes")}
    assert time.monotonic() - begin < 3
    threads = threading.active_count()
    begin = time.monotonic()
    assert lags.ask(work, work.project.streams) == {"plant": Lag(size, "bytes")}
    assert time.monotonic() - begin < 1, "those that have not answered yet are not asked again"
    assert threading.active_count() <= threads
    work.ingest("plant")
    assert lags.ask(work, ["plant"]) == {"plant": Lag(0, "bytes")}


def test_more_streams_than_are_asked_at_once(tmp_path: Path) -> None:
    names = {f"plant{n}": kit.PLANT for n in range(AT_ONCE + 8)}
    home = kit.project(tmp_path, **names)
    kit.feed(home, "one.csv", kit.plant(0, 3))
    work = Offbeat.open(home)
    assert Lags().ask(work, work.project.streams).keys() == names.keys()
