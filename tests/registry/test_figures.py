"""The figures: drawn for any numbers, never through pyplot."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest

from pipeline.registry import figures

DAY = 86_400_000_000
TIME = 1_760_000_000_000_000 + np.arange(32) * 60_000_000
rng = np.random.default_rng(3)


def png(figure) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(out, format="png")
    assert figure.canvas.manager is None  # pyplot would have given it one, and kept it
    return out.getvalue()


def rebuilt(title: str, channels: int = 4, miss: float = 0.1) -> figures.Rebuilt:
    actual = rng.normal(size=(32, channels))
    return figures.Rebuilt(title, TIME, actual, actual + miss, miss)


@pytest.mark.parametrize(
    ("train", "validation"), [([0.5, 0.2], [0.6, 0.3]), ([0.5], []), ([0.5, 0.4], [np.nan, np.nan]), ([], [])]
)
def test_losses_are_drawn(train: list[float], validation: list[float]) -> None:
    assert len(png(figures.losses(train, validation))) > 5000


@pytest.mark.parametrize(
    ("train", "held_out"),
    [
        (rng.lognormal(size=900), rng.lognormal(size=500)),
        (np.full(9, 0.5), np.full(9, 0.5)),
        (np.array([np.nan, 0, np.inf]), np.array([])),
    ],
)
def test_error_distributions_are_drawn(train: np.ndarray, held_out: np.ndarray) -> None:
    assert len(png(figures.error_distribution(train, held_out, 1.5))) > 5000


def test_reconstructions_show_the_channels_missed_most() -> None:
    worst = rebuilt("worst", channels=6)
    worst.expected[:, 4] += 9
    windows = [rebuilt("best", 6), rebuilt("median", 6), worst]
    figure = figures.reconstructions(windows, list("abcdef"), ["bar"] * 6)
    assert len(png(figure)) > 20_000
    shown = [axes.get_ylabel().split("\n")[0] for axes in figure.axes if axes.get_ylabel()]
    assert len(shown) == 3
    assert shown[0] == "e"
    assert [a.get_title("left") for a in figure.axes[:3]] == [
        "best, error 0.1",
        "median, error 0.1",
        "worst, error 0.1",
    ]


def test_reconstructions_with_gaps_constants_and_one_channel_are_drawn() -> None:
    gappy = rebuilt("worst", channels=1)
    gappy.actual[5:9] = np.nan
    assert png(figures.reconstructions([gappy], ["a"]))
    empty = figures.Rebuilt("worst", TIME, np.full((32, 2), np.nan), np.zeros((32, 2)), np.nan)
    assert png(figures.reconstructions([empty], ["a", "b"]))
    constant = figures.Rebuilt("worst", TIME, np.ones((32, 2)), np.ones((32, 2)), 0.0)
    assert png(figures.reconstructions([constant, constant], ["a", "b"]))


def test_channel_errors_are_sorted_and_at_most_twenty() -> None:
    names = [f"channel {i}" for i in range(38)]
    figure = figures.channel_errors(names, np.arange(38.0))
    assert png(figure)
    (axes,) = figure.axes
    labels = [t.get_text() for t in axes.get_yticklabels()]
    assert labels == [f"channel {i}" for i in range(37, 17, -1)]
    assert "largest 20 of 38" in axes.get_title("left")


def test_a_timeline_marks_what_is_above_the_threshold() -> None:
    score = np.full(32, 0.4)
    score[10:12], score[20] = 1.5, np.nan
    figure = figures.score_timeline(TIME, score, spans=[(int(TIME[9]), int(TIME[13]))])
    assert png(figure)
    assert "2 of 31 steps flagged" in figure.axes[0].get_title("left")
    assert png(figures.score_timeline(TIME[:0], score[:0]))
