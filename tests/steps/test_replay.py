"""A replay adds what is missing, scores again, and says what changed; a second one finds nothing."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline import cli
from pipeline.errors import DataError
from pipeline.home import Home
from pipeline.steps import Offbeat, replay
from tests.steps import kit

STRETCH = (kit.TRAINED, kit.TRAINED + timedelta(hours=8))


def again(home: Home, **how: Any) -> dict[str, Any]:
    return Offbeat.open(home).replay("plant", *STRETCH, **how)


def stands(home: Home) -> list[tuple[Any, ...]]:
    names = ("id", "start", "end", "severity", "status", "ending", "silent")
    return [tuple(each[name] for name in names) for each in Offbeat.open(home).anomalies("plant")]


@pytest.fixture
def corrected(home: Home) -> Home:
    """A plant that told of an anomaly, before readings came that show, too late, that it was none."""
    kit.feed(home, "one.csv", kit.glitch(100))
    kit.judge_all(home)
    assert Offbeat.open(home).deliver()["sent"] == 2
    kit.feed(home, "two.csv", kit.MENDED)
    kit.judge_all(home)
    return home


@pytest.fixture
def limited(home: Home) -> Home:
    """A plant whose config rejected the one reading that is anomalous, and was mended since."""
    yaml = home.configs / "streams" / "plant.yaml"
    whole = yaml.read_text()
    yaml.write_text(whole.replace("unit: m3/h", "unit: m3/h, min: 50"))
    kit.feed(home, "one.csv", kit.glitch(100))
    kit.judge_all(home)
    assert stands(home) == []
    yaml.write_text(whole)
    return home


def test_what_vanishes_is_withdrawn_and_nobody_is_told(corrected: Home) -> None:
    told = again(corrected)
    [change] = told["changes"]
    assert (change["what"], change["entity"], change["after"]) == ("vanished", "a", None)
    assert (told["missing"], told["vanished"]) == (0, 1)
    assert told["changed"] > 0
    [found] = Offbeat.open(corrected).anomalies("plant")
    assert (found["ending"], found["revised"]["why"]) == ("withdrawn", "replay")
    assert Offbeat.open(corrected).deliver()["sent"] == 0
    before = stands(corrected), kit.scores(corrected)
    second = again(corrected)
    assert (second["changes"], second["changed"], second["missing"]) == ([], 0, 0)
    assert (stands(corrected), kit.scores(corrected)) == before


def test_those_told_are_told_if_asked(corrected: Home) -> None:
    assert again(corrected, alert=True)["alerts"] == 1
    assert Offbeat.open(corrected).deliver()["sent"] == 1
    last = json.loads((corrected.alerts / "plant.jsonl").read_text().splitlines()[-1])
    assert "scores of a replay show that it was none" in last["title"]
    assert again(corrected, alert=True)["alerts"] == 0


def test_what_was_missing_is_added_and_appears(limited: Home) -> None:
    before = Offbeat.open(limited).status()[0]
    told = again(limited)
    [change] = told["changes"]
    assert (change["what"], change["entity"], change["before"]) == ("appeared", "a", None)
    assert told["missing"] == before["rejected"] == 1
    assert told["read"] == 100
    after = Offbeat.open(limited).status()[0]
    assert after["received"] == before["received"] + 1
    assert [after[name] for name in ("duplicate", "rejected")] == [before["duplicate"], before["rejected"]]
    assert Offbeat.open(limited).deliver()["sent"] == 0
    assert again(limited)["changes"] == []
    assert kit.judge_all(limited)["alerts"] == 0
    assert again(limited, alert=True)["alerts"] == 2  # a firing and its resolve: nobody had been told


def test_what_is_rejected_today_adds_no_reject(limited: Home) -> None:
    yaml = limited.configs / "streams" / "plant.yaml"
    yaml.write_text(yaml.read_text().replace("unit: m3/h", "unit: m3/h, min: 90"))
    before = len(Offbeat.open(limited).rejects("plant", limit=10_000))
    assert again(limited)["missing"] == 0
    assert len(Offbeat.open(limited).rejects("plant", limit=10_000)) == before


def test_what_moves_says_from_where(home: Home) -> None:
    rows = kit.plant(2 * kit.DAY, 480)
    first = (kit.FAULT[0] + timedelta(minutes=30)).isoformat()
    kit.feed(
        home,
        "one.csv",
        [row for row in rows if row[1] == "b" and not kit.FAULT[0].isoformat() <= row[0] < first],
    )
    kit.judge_all(home)
    kit.feed(home, "two.csv", rows)
    kit.judge_all(home)
    [change] = [each for each in again(home)["changes"] if each["entity"] == "b"]
    assert change["what"] == "moved"
    assert change["after"]["start"] < change["before"]["start"]
    assert change["after"]["end"] == change["before"]["end"]
    assert again(home)["changes"] == []


@pytest.mark.parametrize("step", ["score", "flag_again", "_now"])
def test_killed_anywhere_and_run_again_it_ends_in_the_same_state(
    limited: Home, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(replay, step, killed)
        again(limited)
    again(limited)
    [found] = stands(limited)
    assert (found[4], found[6]) == ("closed", True)
    assert Offbeat.open(limited).status()[0]["stored"] == 4 * kit.DAY + 100
    assert again(limited)["changes"] == []


def test_the_command_shows_a_table(corrected: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("HOME", corrected.root),
        ("PROJECT", corrected.project),
        ("CONFIGS", corrected.configs),
    ):
        monkeypatch.setenv(f"OFFBEAT_{name}", str(value))
    arguments = ["replay", "plant", "--from", "2026-03-03", "--to", "2026-03-04"]
    shown = CliRunner().invoke(cli.app, arguments)
    assert "vanished" in shown.stdout
    told = json.loads(CliRunner().invoke(cli.app, [*arguments, "--json"]).stdout)
    assert (told["stream"], told["changes"]) == ("plant", [])
    assert "withdrawn" in CliRunner().invoke(cli.app, ["anomalies"]).stdout


def test_it_says_what_is_wrong_with_the_asking(home: Home) -> None:
    with pytest.raises(DataError, match="the end comes first"):
        Offbeat.open(home).replay("plant", STRETCH[1], STRETCH[0])
