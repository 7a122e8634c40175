"""The figures of a training run: how it learned, what it reconstructs, where its threshold lies.

In: plain arrays. Out: matplotlib figures, drawn without pyplot, so without a screen or global state.
Colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), told apart by everybody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[Any]
INK, QUIET, BLUE, ORANGE, RED, GREEN = "#22303c", "#8a97a3", "#0072b2", "#e69f00", "#d55e00", "#009e73"
_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": QUIET,
    "axes.formatter.useoffset": False,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
    "figure.dpi": 120,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "grid.color": "#e6eaee",
    "grid.linewidth": 0.8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "savefig.dpi": 120,
    "xtick.color": QUIET,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.color": QUIET,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8,
}
_BARS = 20  # channels shown at most


@dataclass(frozen=True)
class Rebuilt:
    """One window and its reconstruction.

    Args:
        title: Such as `worst`.
        time: int64 microseconds UTC [L].
        actual: [L, C], NaN where missing.
        expected: [L, C], what the model made of it, in the same units.
        error: Its reconstruction error.
    """

    title: str
    time: Array
    actual: Array
    expected: Array
    error: float


@contextmanager
def drawing(width: float, height: float, **grid: Any) -> Iterator[tuple[Figure, Any]]:
    """Give a figure of so many inches and its axes, in our style for the length of the block."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height))
        yield figure, figure.subplots(**grid)


def _times(micros: Array | Sequence[int]) -> Array:
    return np.asarray(micros, "int64").astype("datetime64[us]")


def _date_axis(axes: Axes, ticks: int) -> None:
    from matplotlib import dates

    locator = dates.AutoDateLocator(tz=UTC, minticks=2, maxticks=ticks)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]


def losses(train: Sequence[float], validation: Sequence[float] = ()) -> Figure:
    """Draw the loss of each epoch, and mark the epoch with the best validation loss.

    Args:
        train: Training loss of epochs 1, 2, ….
        validation: Validation loss of the same epochs; may be empty.
    """
    from matplotlib.ticker import MaxNLocator

    with drawing(6.4, 3.4) as (figure, axes):
        for values, color, label in ((train, BLUE, "training"), (validation, ORANGE, "validation")):
            if len(values):
                axes.plot(np.arange(1, len(values) + 1), values, color=color, label=label, marker="o", ms=3)
        _mark_best(axes, validation if len(validation) else train)
        axes.set(title="Loss", xlabel="epoch", ylabel="loss", yscale="log")
        _plain_log(axes.yaxis)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if axes.lines:
            axes.legend()
    return figure


def _mark_best(axes: Axes, values: Sequence[float]) -> None:
    if not len(values) or not np.isfinite(values).any():
        return
    best = int(np.nanargmin(values))
    axes.axvline(best + 1, color=QUIET, ls=":", lw=1)
    axes.plot(
        best + 1, values[best], "o", ms=7, mfc="none", mec=RED, mew=1.5, label=f"best {values[best]:.3g}"
    )


def _plain_log(axis: Any) -> None:
    """Label a log axis in plain numbers, also where it spans less than a decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    subs = (1, 2, 5) if high < 300 * low else (1,)  # more would run into each other
    axis.set_major_locator(LogLocator(subs=subs, numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def error_distribution(train: Array, held_out: Array, threshold: float) -> Figure:
    """Draw how errors spread on training and on held-out normal data, and where the threshold lies.

    Args:
        train: Errors, any shape; NaN is left out.
        held_out: Errors on the same scale.
        threshold: On the same scale.
    """
    sides = [np.asarray(a, float).ravel() for a in (train, held_out)]
    kept = [a[np.isfinite(a) & (a > 0)] for a in sides]
    bins = _bins(np.concatenate([*kept, [threshold]]))
    with drawing(6.4, 3.4) as (figure, axes):
        for values, color, label in zip(kept, (BLUE, ORANGE), ("training", "held out"), strict=True):
            if values.size:
                weights = np.full(values.size, 1 / values.size)
                axes.hist(values, bins, weights=weights, color=color, alpha=0.25)
                axes.hist(values, bins, weights=weights, color=color, histtype="step", lw=1.5, label=label)
        share = f"{100 * np.mean(kept[1] > threshold):.2g} %" if kept[1].size else "none"
        axes.axvline(threshold, color=RED, ls="--", lw=1.5, label=f"threshold {threshold:.3g}")
        axes.plot([], [], " ", label=f"{share} of held out above")
        axes.set(title="Reconstruction error", xlabel="error", ylabel="share of steps", xscale="log")
        _plain_log(axes.xaxis)
        axes.legend(loc="upper left")
    return figure


def _bins(values: Array) -> Array:
    found = values[np.isfinite(values) & (values > 0)]
    low, high = (found.min(), found.max()) if found.size else (0.1, 10.0)
    return np.geomspace(low / 1.1, high * 1.1, 60)


def reconstructions(windows: Sequence[Rebuilt], channels: Sequence[str], units: Sequence[str] = ()) -> Figure:
    """Draw windows beside each other: what was measured, what the model made of it, the difference shaded.

    Args:
        windows: The best, the median and the worst held-out window, say.
        channels: Names [C].
        units: Their units [C]; empty when values are scaled.
    """
    rows = _hardest(windows, most=3)
    size = {"nrows": len(rows), "ncols": len(windows), "squeeze": False, "sharey": "row"}
    with drawing(3.4 * len(windows), 1.5 + 1.35 * len(rows), **size) as (figure, grid):
        for r, channel in enumerate(rows):
            for c, window in enumerate(windows):
                _rebuilt(grid[r][c], window, channel, last=r == len(rows) - 1)
            unit = f"\n{units[channel]}" if len(units) and units[channel] else ""
            grid[r][0].set_ylabel(f"{channels[channel]}{unit}")
        for c, window in enumerate(windows):
            grid[0][c].set_title(f"{window.title}, error {window.error:.3g}")
        marks, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(marks, labels, loc="outside lower center", ncols=3)
    return figure


def _hardest(windows: Sequence[Rebuilt], most: int) -> list[int]:
    """Return the channels that the last (worst) window's model erred on most, relative to their spread."""
    last = windows[-1]
    seen = np.concatenate([w.actual for w in windows])
    spread = np.ma.ptp(np.ma.masked_invalid(seen), axis=0).filled(0)
    miss = np.ma.masked_invalid(np.abs(last.actual - last.expected)).mean(axis=0).filled(-1)
    rank = miss / np.where(spread > 0, spread, 1)
    return [int(i) for i in np.argsort(-rank, kind="stable")[:most]]


def _rebuilt(axes: Axes, window: Rebuilt, channel: int, *, last: bool) -> None:
    time = _times(window.time)
    actual, expected = window.actual[:, channel], window.expected[:, channel]
    axes.fill_between(time, actual, expected, color=RED, alpha=0.15, lw=0, label="difference")
    axes.plot(time, actual, color=INK, label="actual")
    axes.plot(time, expected, color=ORANGE, ls="--", label="reconstructed")
    axes.margins(x=0.02)
    _date_axis(axes, ticks=4)
    axes.tick_params(labelbottom=last)
    axes.xaxis.get_offset_text().set_visible(last)


def channel_errors(channels: Sequence[str], errors: Array) -> Figure:
    """Draw each channel's mean error as a bar, largest on top; of many channels, the largest twenty.

    Args:
        channels: Names [C].
        errors: Mean held-out error of each [C], scaled.
    """
    values = np.nan_to_num(np.asarray(errors, float))
    order = np.argsort(-values, kind="stable")[:_BARS]
    left = len(values) - len(order)
    with drawing(6.4, 0.9 + 0.28 * len(order)) as (figure, axes):
        bars = axes.barh([channels[i] for i in order], values[order], color=BLUE, height=0.7)
        axes.bar_label(bars, fmt="%.3g", padding=3, fontsize=8, color=INK)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.12)
        more = f" (largest {len(order)} of {len(values)})" if left else ""
        axes.set(title=f"Held-out error of each channel{more}", xlabel="mean error, scaled")
    return figure


def score_timeline(
    time: Array, score: Array, *, threshold: float = 1.0, spans: Sequence[tuple[int, int]] = ()
) -> Figure:
    """Draw the score over time with its threshold, flagged points marked.

    Args:
        time: int64 microseconds UTC [T], rising.
        score: [T]; NaN leaves a gap.
        threshold: 1, on Offbeat's scale.
        spans: (start, end) in microseconds of periods to shade, such as anomalies or labelled faults.
    """
    when, values = _times(time), np.asarray(score, float)
    above = values > threshold
    with drawing(9.6, 2.8) as (figure, axes):
        for start, end in spans:
            axes.axvspan(*_times([start, end]), color=RED, alpha=0.12, lw=0)
        axes.plot(when, values, color=BLUE, lw=1, label="score")
        axes.plot(when[above], values[above], ".", color=RED, ms=4)
        axes.axhline(threshold, color=RED, ls="--", lw=1.2, label="threshold")
        axes.set(
            title=f"Score, {int(above.sum())} of {np.isfinite(values).sum()} steps flagged", ylabel="score"
        )
        axes.margins(x=0.01)
        axes.set_ylim(0, 1.25 * max(threshold, np.nanmax(values, initial=0)))  # room for the legend
        _date_axis(axes, ticks=9)
        axes.legend(loc="upper left", ncols=2)
    return figure
