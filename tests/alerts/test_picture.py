"""The picture of an anomaly: a small PNG, whatever the arrays hold."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

import pipeline
from pipeline.alerts.picture import Scene, draw

START = datetime(2026, 3, 1, tzinfo=UTC)


def scene(rows=200, channels=5, **facts):
    rng = np.random.default_rng(7)
    time = (np.int64(START.timestamp() * 1e6) + np.arange(rows) * 60_000_000).astype(np.int64)
    actual = rng.normal(size=(rows, channels)).cumsum(axis=0)
    known = {
        "title": "pumps: pump-7",
        "time": time,
        "actual": actual,
        "expected": actual + rng.normal(size=(rows, channels)) / 5,
        "score": rng.uniform(0, 2, rows),
        "names": [f"channel {i}" for i in range(channels)],
        "units": ["mm/s"] * channels,
        "start": START + timedelta(minutes=100),
        "end": START + timedelta(minutes=120),
    }
    return Scene(**(known | facts))


def size(png):
    assert png.startswith(b"\x89PNG")
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def test_it_is_a_small_png_of_the_three_channels_most_to_blame():
    wide, high = size(draw(scene()))
    assert (wide, 400 < high < 700) == (860, True)
    assert size(draw(scene(channels=1)))[1] < high
    assert size(draw(scene(channels=3)))[1] == high


def test_a_million_rows_are_drawn_and_stay_small():
    score = np.zeros(1_000_000)
    score[654_321] = 9
    png = draw(scene(rows=1_000_000, channels=1, score=score))
    assert len(png) < 256 * 1024


def test_transactions_are_points_and_one_of_them_is_seen():
    assert size(draw(scene(rows=20, channels=1, end=START + timedelta(minutes=100), curve=False)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300, 0.0])
def test_gaps_infinities_and_constants_are_drawn_or_left_out(bad):
    odd = np.full((200, 2), bad)
    half = odd.copy()
    half[::2] = 1.0
    for actual, expected, score in ((odd, odd, odd[:, 0]), (half, odd, half[:, 0]), (half, half, odd[:, 0])):
        png = draw(scene(channels=2, actual=actual, expected=expected, score=score))
        assert png is None or size(png)


def test_nothing_to_see_is_no_picture():
    nothing = np.full((200, 1), np.nan)
    assert draw(scene(channels=1, actual=nothing, expected=nothing, score=nothing[:, 0])) is None
    assert draw(scene(rows=1)) is None
    assert draw(scene(rows=0)) is None


def test_hostile_names_are_drawn_as_text():
    odd = r"$\frac{1}{0}$ \input{/etc/passwd} $x^{ <b> 泵" + "\x00\n\u202e" + "z" * 10_000
    assert size(draw(scene(title=odd, channels=2, names=[odd, "$"], units=[odd, "$$"])))


def test_heavy_libraries_are_imported_only_when_used():
    code = "import sys, pipeline.alerts.picture, pipeline.alerts.deliver, pipeline.alerts.receivers\n"
    code += "print([m for m in ('matplotlib', 'apprise', 'pandas') if m in sys.modules])"
    environment = os.environ | {"PYTHONPATH": str(Path(pipeline.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
