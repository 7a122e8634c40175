"""A live feed goes on where the history ends, appends only, and never runs ahead of the clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from pipeline import clock
from pipeline.simulate import PumpStation, live, read_labels, write_history
from pipeline.simulate.live import Growing

END = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_history(tmp_path, days=2, end=END, feeds=["pump_station"])
    return tmp_path


def test_a_day_written_bit_by_bit_is_the_day_written_at_once(folder: Path) -> None:
    growing = Growing(folder, PumpStation(7))
    for hours in (1, 2, 2, 9, 23, 25):
        growing.advance(END + timedelta(hours=hours))
    whole = PumpStation(7).day(date(2026, 3, 1), faults=True)
    lines = (folder / "pump_station" / "2026-03-01.csv").read_text().splitlines()
    assert lines == [whole.header, *whole.lines]
    assert (folder / "pump_station" / "2026-03-02.csv").exists()


def test_what_was_written_is_never_changed(folder: Path) -> None:
    growing, before = Growing(folder, PumpStation(7)), b""
    for hours in range(1, 12):
        growing.advance(END + timedelta(hours=hours))
        now = (folder / "pump_station" / "2026-03-01.csv").read_bytes()
        assert now.startswith(before)
        before = now


def test_a_restart_goes_on_where_it_stopped(folder: Path) -> None:
    Growing(folder, PumpStation(7)).advance(END + timedelta(hours=5))
    reached = Growing(folder, PumpStation(7)).reached()
    assert reached
    assert timedelta(minutes=-2) < reached - (END + timedelta(hours=5)) <= timedelta(0)
    Growing(folder, PumpStation(7)).advance(END + timedelta(hours=30))
    whole = PumpStation(7).day(date(2026, 3, 1), faults=True)
    lines = (folder / "pump_station" / "2026-03-01.csv").read_text().splitlines()
    assert lines == [whole.header, *whole.lines]


def test_labels_grow_with_the_feed(folder: Path) -> None:
    before = read_labels(folder, "pump_station")
    Growing(folder, PumpStation(7)).advance(END + timedelta(hours=1))
    after = read_labels(folder, "pump_station")
    assert after.normal_until == before.normal_until
    assert after.end == END + timedelta(days=1)
    assert len(after.faults) == len(before.faults) + 2


def test_nothing_comes_from_the_future(folder: Path) -> None:
    ticks = iter([False, False, False, True])
    with clock.frozen(END + timedelta(hours=3)):
        live(folder, 1e6, feeds=["pump_station"], tick=0.01, stop=lambda: next(ticks))
    lines = (folder / "pump_station" / "2026-03-01.csv").read_text().splitlines()[1:]
    newest = max(datetime.fromisoformat(t) for line in lines if "?" not in (t := line.split(",")[0]))
    assert END + timedelta(hours=2, minutes=50) < newest <= END + timedelta(hours=3)
