"""One small picture of an anomaly: what the channels did, what was expected, and the score below.

In: plain arrays. Out: PNG bytes. Matplotlib is imported on the first drawing, and only its Agg canvas.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.alerts.text import clean

CHANNELS = 3
POINTS = 2000
INK, FAINT, ACTUAL, EXPECTED, ALARM = "#24292f", "#8c959f", "#0b5cad", "#57606a", "#cf222e"
_drawing = threading.Lock()  # matplotlib's font cache is shared between threads


@dataclass(frozen=True, slots=True)
class Scene:
    """What to draw of one entity.

    time: int64 microseconds UTC [T], rising. actual and expected: float [T, C] in channel units, NaN where
    nothing is known. score: float [T], 1 at the threshold. names and units: [C], most to blame first.
    curve: False for transactions, which have nothing between them.
    """

    title: str
    time: npt.NDArray[np.int64]
    actual: npt.NDArray[np.float64]
    expected: npt.NDArray[np.float64]
    score: npt.NDArray[np.float64]
    names: Sequence[str]
    units: Sequence[str]
    start: datetime
    end: datetime
    curve: bool = True


def draw(scene: Scene) -> bytes | None:
    """Return a PNG 860 pixels wide; None when there is nothing to see."""
    seen = [i for i in range(len(scene.names)) if np.isfinite(scene.actual[:, i]).any()][:CHANNELS]
    if len(scene.time) < 2 or not (seen or np.isfinite(scene.score).any()):
        return None
    with _drawing, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a box in a title is no reason to be silent
        warnings.filterwarnings("ignore", "AutoDateLocator was unable")  # it chooses well all the same
        return _draw(scene, seen)


def _draw(scene: Scene, channels: Sequence[int]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [2.2] * len(channels) + [1.2]
    figure = Figure(
        figsize=(8.6, 0.9 + 0.62 * sum(heights)), dpi=100, facecolor="white", layout="constrained"
    )
    canvas: Any = FigureCanvasAgg(figure)
    axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    title = _literal(clean(scene.title, 96))
    figure.suptitle(title, x=0.012, ha="left", fontsize=11, color=INK, weight="bold")
    keep = _kept(scene)
    time = scene.time.astype("datetime64[us]")
    for axis, channel in zip(axes, channels, strict=False):
        _channel(axis, scene, channel, time, keep)
    _score(axes[-1], scene, time[keep], scene.score[keep])
    for axis in axes:
        _shade(axis, scene, time)
        _plain(axis)
    _clock(axes[-1], time)
    out = io.BytesIO()
    canvas.print_png(out)
    return out.getvalue()


def _kept(scene: Scene) -> npt.NDArray[np.intp]:
    """Return which rows to draw: all, or of each bucket of many the one that scores highest."""
    count = len(scene.time)
    if count <= POINTS:
        return np.arange(count)
    score = np.where(np.isfinite(scene.score), scene.score, -np.inf)
    edges = np.linspace(0, count, POINTS + 1).astype(np.intp)
    return np.array([a + int(np.argmax(score[a:b])) for a, b in pairwise(edges)])


def _channel(axis: Any, scene: Scene, i: int, time: Any, keep: npt.NDArray[np.intp]) -> None:
    actual, expected = scene.actual[keep, i], scene.expected[keep, i]
    if scene.curve:
        axis.plot(time[keep], expected, color=EXPECTED, lw=1.4, ls=(0, (4, 2)), label="expected", zorder=4)
        axis.plot(time[keep], actual, color=ACTUAL, lw=1.4, label="actual", zorder=3)
    else:
        axis.vlines(time[keep], np.fmin(actual, expected), np.fmax(actual, expected), color=ACTUAL, lw=1)
        axis.plot(time[keep], expected, "_", color=EXPECTED, ms=7, mew=1.6, label="expected", zorder=3)
        axis.plot(time[keep], actual, "o", color=ACTUAL, ms=4, label="actual", zorder=4)
    unit = f" ({clean(scene.units[i], 16)})" if scene.units[i] else ""
    _name(axis, clean(scene.names[i], 40) + unit)
    axis.margins(y=0.12)
    if axis.get_subplotspec().is_first_row():
        _legend(axis)


def _score(axis: Any, scene: Scene, time: Any, score: npt.NDArray[np.float64]) -> None:
    finite = np.where(np.isfinite(score), score, np.nan)
    if scene.curve:
        axis.plot(time, finite, color=INK, lw=1.2, zorder=3)
        axis.fill_between(time, 1, finite, where=finite > 1, color=ALARM, alpha=0.35, lw=0, interpolate=True)
    else:
        axis.vlines(time, 0, finite, color=np.where(finite > 1, ALARM, INK), lw=1.6, zorder=3)
    axis.axhline(1, color=ALARM, lw=0.9, ls=":")
    axis.set_ylim(0, max(float(np.nanmax(finite, initial=1.0)) * 1.12, 1.3))
    _name(axis, "score (1 = threshold)")


def _shade(axis: Any, scene: Scene, time: npt.NDArray[np.datetime64]) -> None:
    start, end = (np.datetime64(round(t.timestamp() * 1e6), "us") for t in (scene.start, scene.end))
    least = (time[-1] - time[0]) / 120  # one transaction has no width, and has to be seen
    if end - start < least:
        start, end = start - least / 2, end + least / 2
    axis.axvspan(start, end, color=ALARM, alpha=0.12, lw=0, zorder=1)
    edge = (time[-1] - time[0]) / 80
    axis.set_xlim(time[0] - edge, time[-1] + edge)


def _plain(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(FAINT)
    axis.tick_params(colors=INK, labelsize=8, length=3, color=FAINT)
    axis.grid(axis="y", color="#d0d7de", lw=0.5)
    axis.locator_params(axis="y", nbins=4)


def _clock(axis: Any, time: npt.NDArray[np.datetime64]) -> None:
    from matplotlib import dates

    locator = dates.AutoDateLocator(tz="UTC", minticks=4, maxticks=8)  # type: ignore[no-untyped-call]
    axis.xaxis.set_major_locator(locator)
    show = dates.ConciseDateFormatter(locator, tz="UTC", show_offset=False)  # type: ignore[no-untyped-call]
    axis.xaxis.set_major_formatter(show)
    days = dict.fromkeys(str(t.astype("datetime64[D]")) for t in (time[0], time[-1]))
    axis.set_xlabel(f"{' to '.join(days)}, UTC", fontsize=8, color=INK, loc="right", labelpad=2)


def _legend(axis: Any) -> None:
    axis.legend(
        loc="lower right", bbox_to_anchor=(1.0, 0.98), ncols=2, fontsize=8, frameon=False, borderpad=0
    )


def _name(axis: Any, text: str) -> None:
    axis.set_title(_literal(text), loc="left", fontsize=9, color=INK, pad=3)


def _literal(text: str) -> str:
    return text.replace("$", r"\$")  # a name is not a formula
