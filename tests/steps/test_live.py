"""Live and scheduled are one: the same scores and alerts, through kills, and while sources are away."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from pipeline.errors import ConfigError, Unavailable
from pipeline.home import Home
from pipeline.steps import Offbeat, live
from tests.steps import kit

ROWS = 420  # minutes after training, with the fault and its end


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LOOKED", 0.3)
    monkeypatch.setattr(live, "PATIENCE", (0.2, 0.5))


@contextmanager
def living(home: Home) -> Iterator[dict[str, Any]]:
    """Run live in a thread; what it returned or raised is in the dict afterwards."""
    over, result = Event(), {}

    def work() -> None:
        try:
            result.update(Offbeat.open(home).live("plant", over))
        except Exception as error:  # noqa: BLE001
            result["error"] = error

    thread = Thread(target=work)
    thread.start()
    try:
        yield result
    finally:
        over.set()
        thread.join(60)


def until(ready: Callable[[], bool], seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < ends, "it did not come in time"
        time.sleep(0.1)


def whole(home: Home) -> bool:
    return len(kit.scores(home)) == len(expected(home))


def expected(home: Home) -> list[dict[str, Any]]:
    """Return the scores of a plant that got everything at once, by the scheduled steps; made once."""
    other = home.project.with_name("scheduled")
    if not other.exists():
        copy = kit.copy(home, other)
        shutil.rmtree(other / "data")
        kit.feed(copy, "history.csv", kit.plant(0, 2 * kit.DAY))
        kit.feed(copy, "later.csv", kit.plant(2 * kit.DAY, ROWS))
        kit.judge_all(copy)
    return kit.scores(Home(other / "home", other))


def alerts(home: Home) -> list[str]:
    path = home.alerts / "plant.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def queued(home: Home) -> list[str]:
    """Return the keys of all alerts that were ever queued about what the model found."""
    with Offbeat.open(home).database.connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT key FROM outbox JOIN anomalies ON anomalies.id = anomaly"
            " WHERE kind = 'reconstruction' ORDER BY outbox.created_at"
        )
        return [str(key) for (key,) in found]


def test_scores_and_alerts_are_those_of_a_schedule(home: Home) -> None:
    expected(home)
    rows = kit.plant(2 * kit.DAY, ROWS)
    pump_a, pump_b = rows[:ROWS], rows[ROWS:]
    with living(home) as told:
        for number, first in enumerate(range(0, ROWS, 70)):
            part = slice(first, first + 70)
            kit.feed(home, f"part{number}.csv", pump_a[part] + pump_b[part])
            time.sleep(0.4)
        until(lambda: whole(home))
        until(lambda: len(alerts(home)) == 2)
    assert kit.scores(home) == expected(home)
    assert (told["received"], told["alerts"]) == (2 * ROWS, 2)
    assert len(alerts(home)) == 2, "the fault, and its end"


@pytest.mark.slow
def test_a_process_killed_again_and_again_ends_with_the_same(home: Home) -> None:
    expected(home)
    environment = os.environ | {
        "OFFBEAT_HOME": str(home.root),
        "OFFBEAT_PROJECT": str(home.project),
        "OFFBEAT_CONFIGS": str(home.configs),
    }
    command = [sys.executable, "-m", "pipeline.cli", "run", "plant"]
    rows = kit.plant(2 * kit.DAY, ROWS)
    for number, pause in enumerate((2.0, 3.0, 3.7, 4.3, None)):
        part = slice(number * 84, number * 84 + 84)
        kit.feed(home, f"part{number}.csv", rows[:ROWS][part] + rows[ROWS:][part])
        process = subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[2])
        if pause:
            time.sleep(pause)
            process.kill()
            process.wait()
    until(lambda: whole(home))
    until(lambda: [key.rpartition("-")[2] for key in queued(home)] == ["firing", "resolved"])
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert kit.scores(home) == expected(home)
    assert len(queued(home)) == 2, (
        "what was being delivered when it was killed is sent again when its lease ends"
    )


def test_records_are_kept_until_there_is_a_champion_which_takes_over_by_itself(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit.feed(home, "later.csv", kit.plant(2 * kit.DAY, 60))
    work = Offbeat.open(home)
    with monkeypatch.context() as patch, living(home):
        patch.setattr("pipeline.registry.registry.Registry.champion", lambda *_: None)
        until(lambda: work.status()[0]["stored"] == 4 * kit.DAY + 120)
        time.sleep(1)
        assert not kit.scores(home)
        patch.undo()
        until(lambda: {row["version"] for row in kit.scores(home)} == {1})


def test_a_source_that_is_away_is_waited_for(home: Home) -> None:
    data = home.project / "data"
    data.rename(home.project / "away")
    with living(home) as told:
        time.sleep(1)
        (home.project / "away").rename(data)
        kit.feed(home, "later.csv", kit.plant(2 * kit.DAY, 30))
        until(lambda: bool(kit.scores(home)))
    assert told["waits"] >= 1


def test_waits_grow_while_nothing_works_and_begin_anew_once_something_did(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought, waited, over = iter([0, 0, 0, 0, 7, 0]), [], Event()

    def fails(*given: Any) -> None:
        try:
            given[-1]["received"] += next(brought)
        except StopIteration:
            over.set()
            return
        raise Unavailable("away")

    monkeypatch.setattr(live, "_run", fails)
    monkeypatch.setattr(over, "wait", waited.append)
    Offbeat.open(home).live("plant", over)
    assert waited == [0.2, 0.4, 0.5, 0.5, 0.2, 0.4]


def test_what_somebody_has_to_mend_ends_it(home: Home) -> None:
    path = home.configs / "streams" / "plant.yaml"
    path.write_text(path.read_text().replace("settle: 0s", "delimiter: ä"))
    with living(home) as told:
        until(lambda: bool(told))
    assert isinstance(told["error"], ConfigError)
