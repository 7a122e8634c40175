"""Simulated feeds: the same seed writes the same lines, and labels say what was put into them."""

from __future__ import annotations

import csv
import gzip
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from pipeline.simulate import FEEDS, CardStream, Feed, Labels, PumpStation, read_labels, write_history
from pipeline.simulate.faults import plan

END = datetime(2026, 3, 1, tzinfo=UTC)
DAY = date(2026, 2, 20)
KINDS = {
    "pump_station": {"bearing wear", "leak", "stuck sensor", "pump trip", "drift", "cavitation"},
    "card_payments": {"card testing", "account takeover", "spree abroad"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("feeds")
    write_history(target, days=8, end=END, fault_share=0.5)
    return target


@pytest.fixture(params=sorted(FEEDS))
def feed(request: pytest.FixtureRequest) -> Feed:
    return FEEDS[request.param](7)


def read(path: Path) -> list[str]:
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    assert text.endswith(b"\n")
    return text.decode().splitlines()


def test_the_same_seed_and_day_give_the_same_lines(feed: Feed) -> None:
    again, other = FEEDS[feed.name](7), FEEDS[feed.name](8)
    assert feed.day(DAY, faults=True).lines == again.day(DAY, faults=True).lines
    assert feed.day(DAY, faults=True).lines != other.day(DAY, faults=True).lines


def test_history_written_twice_is_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_history(tmp_path, days=8, end=END, fault_share=0.5)
    files = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    assert all((folder / f).read_bytes() == (tmp_path / f).read_bytes() for f in files)


@pytest.mark.parametrize("name", sorted(FEEDS))
def test_labels_lie_outside_of_what_is_ingested_and_count_every_line(folder: Path, name: str) -> None:
    labels = read_labels(folder, name)
    files = sorted((folder / name).iterdir())
    assert [f.name for f in files if not f.name.endswith((".csv", ".csv.gz"))] == []
    assert {f.suffix for f in files} == {".csv", ".gz"}
    assert sum(len(read(f)) - 1 for f in files) == labels.lines
    assert labels.duplicates > 0
    assert labels.malformed > 0


@pytest.mark.parametrize("name", sorted(FEEDS))
def test_faults_lie_in_the_last_part_and_all_kinds_come(folder: Path, name: str) -> None:
    labels = read_labels(folder, name)
    assert labels.normal_until == END - timedelta(days=4)
    assert labels.end == END
    assert {f.kind for f in labels.faults} == KINDS[name]
    for fault in labels.faults:
        assert labels.normal_until <= fault.start < fault.end <= labels.end


def test_frauds_are_labelled_by_their_transactions(folder: Path) -> None:
    labels = read_labels(folder, "card_payments")
    rows = [line.split(",") for f in (folder / "card_payments").iterdir() for line in read(f)[1:]]
    card_of = {row[0]: row[1] for row in rows if len(row) == 7 and row[0] != "ERR"}
    for fraud in labels.faults:
        assert len(fraud.ids) >= 4
        assert {card_of[i] for i in fraud.ids} == {fraud.entity}


def test_normal_days_have_no_labels(feed: Feed) -> None:
    assert feed.day(DAY, faults=False).faults == ()


def test_damaged_lines_are_damaged_and_no_others(folder: Path) -> None:
    labels, wrong = read_labels(folder, "pump_station"), 0
    for file in (folder / "pump_station").iterdir():
        for row in csv.reader(read(file)[1:]):
            wrong += not sound(row)
    assert wrong == labels.malformed


def sound(row: list[str]) -> bool:
    try:
        datetime.fromisoformat(row[0])
        return len(row) == 7 and all(v == "" or np.isfinite(float(v)) for v in row[2:])
    except ValueError:
        return False


def test_lines_come_out_of_order_as_in_the_field(feed: Feed) -> None:
    day = feed.day(DAY, faults=False)
    column = day.header.split(",").index("time")
    times = [line.split(",")[column] for line in day.lines if line.count(",") == day.header.count(",")]
    assert times != sorted(times)
    assert (np.diff(day.arrival) >= 0).all()


def test_readings_go_on_smoothly_over_midnight() -> None:
    station = PumpStation(7)
    minutes = np.arange(3 * 1440) + 20_000 * 1440
    whole = station.clean(0, minutes)
    parts = np.concatenate([station.clean(0, part) for part in np.split(minutes, 3)])
    np.testing.assert_allclose(whole, parts, atol=0.02)


def test_faults_change_their_own_pump_only_and_only_while_they_last() -> None:
    station = PumpStation(7)
    well, ill = (station.day(DAY, faults=faults) for faults in (False, True))
    changed = [line.split(",") for line in set(ill.lines) - set(well.lines)]
    faults = {f.entity: f for f in ill.faults}
    assert len(faults) == 2
    for stamp, pump, *_ in (row for row in changed if sound(row)):
        assert faults[pump].start <= datetime.fromisoformat(stamp) < faults[pump].end


def test_three_days_see_every_kind_of_pump_fault() -> None:
    pumps = PumpStation(7).entities
    kinds = {p.kind for n in range(3) for p in plan(7, DAY + timedelta(days=n), pumps)}
    assert kinds == KINDS["pump_station"]


def test_cards_keep_their_habits_from_day_to_day() -> None:
    homes: dict[str, set[str]] = {}
    for number in range(5):
        for line in CardStream(7).day(DAY + timedelta(days=number), faults=False).lines:
            if line.endswith(",online") and line.count(",") == 6:
                homes.setdefault(line.split(",")[1], set()).add(line.split(",")[5])
    assert len(homes) > 100
    assert {len(countries) for countries in homes.values()} == {1}


def test_labels_survive_being_written_and_read(folder: Path) -> None:
    labels = read_labels(folder, "pump_station")
    assert isinstance(labels, Labels)
    raw = json.loads((folder / "labels" / "pump_station.json").read_text())
    assert raw["faults"][0]["start"] == labels.faults[0].start.isoformat()
