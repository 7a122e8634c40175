"""What is said of a stream's health, from what is known of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from pipeline.registry import Version
from pipeline.web import Keeper
from tests.web.conftest import NOW

BEST = Version(3, "run", "digest", "source", {}, NOW - timedelta(days=2))


def health(keeper: Keeper, monkeypatch: pytest.MonkeyPatch, **known) -> tuple[str, str]:
    """Return health and why of `plant`, with something changed."""
    seen = {**keeper.glances, "plant": replace(keeper.glances["plant"], **known.get("glance", {}))}
    open_now = [("plant", kind, "high", count) for kind, count in known.get("open", {}).items()]
    monkeypatch.setattr("pipeline.store.anomalies.count_open", lambda _: open_now)
    reached = {("plant", "score.0/1"): {"watermark": known.get("until", NOW).isoformat()}}
    monkeypatch.setattr("pipeline.steps.glances.cursors_of_all", lambda *_: reached)
    rows = keeper.work.overview(seen, known.get("champions", {"plant": BEST}))
    return next((row["health"], row["why"]) for row in rows if row["stream"] == "plant")


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({}, ("fresh", "")),
        ({"champions": None}, ("fresh", "")),
        ({"champions": {}}, ("untrained", "no model yet: offbeat train plant")),
        ({"open": {"reconstruction": 4}}, ("fresh", "")),
        ({"open": {"silence": 1}}, ("silent", "one sends nothing")),
        ({"open": {"silence": 7}}, ("silent", "7 send nothing")),
        ({"open": {"silence": 7, "late": 1}}, ("late", "no new records")),
        ({"glance": {"newest": None}}, ("empty", "no records yet")),
        ({"glance": {"problem": "no space left"}}, ("failing", "no space left")),
        ({"until": NOW - timedelta(hours=20)}, ("fresh", "")),
        ({"until": NOW - timedelta(hours=30)}, ("failing", "not scored since 2026-03-06 18:05 UTC")),
    ],
)
def test_health_says_what_is_worst(keeper: Keeper, monkeypatch, known, said) -> None:
    assert health(keeper, monkeypatch, **known) == said


def test_a_table_that_cannot_be_read_is_told_and_stops_no_other(keeper: Keeper) -> None:
    tables = keeper.work.home.root / "tables"
    log = next((tables / "cards" / "observations" / "_delta_log").glob("*.json"))
    whole = log.read_bytes()
    log.write_bytes(b"{")
    try:
        seen = keeper.work.glance("cards", None, NOW)
        assert "cards" in seen.problem
        assert keeper.work.glance("plant", None, NOW).problem == ""
    finally:
        log.write_bytes(whole)
