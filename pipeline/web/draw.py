"""Figures made on the server: strips, lines and bars as SVG, with their words for who cannot see them.

In: series as the steps return them. Out: SVG, names escaped. Colours are the style sheet's, by class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from markupsafe import Markup, escape

from pipeline.alerts.text import measured, number

HIGH = 3.0  # a score that fills a strip
WIDE, TALL, LEFT, BELOW = 1000, 150, 62, 22  # of a line's figure
_POINTS = 1200


def strip(cells: Sequence[float | None], hours: int = 2) -> Markup:
    """Return a week of scores as bars: those above the threshold stand out."""
    return _strip(tuple(cells), hours)


@lru_cache(maxsize=4096)
def _strip(cells: tuple[float | None, ...], hours: int) -> Markup:
    known = [c for c in cells if c is not None]
    if not known:
        return Markup('<span class="none">no scores</span>')
    paths: dict[str, list[str]] = {"q": [], "a": [], "b": []}
    for x, cell in enumerate(cells):
        if cell is not None:
            height = max(min(cell / HIGH, 1.0) * 20, 0.7)
            paths["b" if cell >= 2 else "a" if cell >= 1 else "q"].append(f"M{x} 20v-{height:.1f}h1V20")
    over = sum(c >= 1 for c in known)
    words = f"Highest score {number(max(known))}, above the threshold in {over} of {len(cells)} cells"
    drawn = "".join(f'<path class="{name}" d="{"".join(ds)}"/>' for name, ds in paths.items() if ds)
    return _figure("strip", (len(cells), 20), f"{words} of {hours} hours", drawn, stretched=True)


def _figure(name: str, size: tuple[int, int], words: str, inside: str, *, stretched: bool = False) -> Markup:
    """Return an SVG; `inside` is made of numbers and of texts that were escaped."""
    more = Markup(' preserveAspectRatio="none"') if stretched else ""
    head = Markup('<svg class="{}" role="img" aria-label="{}" viewBox="0 0 {} {}"{}>')
    return head.format(name, words, *size, more) + Markup(inside) + Markup("</svg>")  # noqa: S704


def line(
    shown: Mapping[str, Any], data: Mapping[str, Any], expected: Mapping[str, Any] | None = None
) -> Markup:
    """Return one channel (or the score) of `Offbeat.series` as a figure, anomalies shaded."""
    start, end = (datetime.fromisoformat(data[side]).timestamp() * 1000 for side in ("from", "to"))
    values = [v for series in (shown, expected or {}) for v in series.get("value", ()) if v is not None]
    score = shown["name"] == "score"
    low, high = (0.0, max([*values, 1.2])) if score else (min(values, default=0.0), max(values, default=1.0))
    if low == high:
        low, high = low - 0.5, high + 0.5

    def x(at: float) -> float:
        return LEFT + (WIDE - LEFT) * min(max((at - start) / (end - start), 0.0), 1.0)

    def y(value: float) -> float:
        return 6 + (TALL - 12) * (1 - (value - low) / (high - low))

    parts = [_shades(data, x), _frame(low, high, start, end, y)]
    if score:
        parts.append(f'<path class="threshold" d="M{LEFT} {y(1):.1f}H{WIDE}"/>')
    if expected:
        parts.append(f'<path class="expected" d="{_path(expected, x, y)}"/>')
    parts.append(f'<path class="{"score" if score else "actual"}" d="{_path(shown, x, y)}"/>')
    return _figure("line", (WIDE, TALL + BELOW), _words(shown, values, data), "".join(parts))


def _words(shown: Mapping[str, Any], values: Sequence[float], data: Mapping[str, Any]) -> str:
    name = "Score, 1 is the threshold" if shown["name"] == "score" else shown["name"]
    if not values:
        return f"{name}: no readings"
    ends = (measured(edge, shown["unit"]) for edge in (min(values), max(values)))
    return f"{name}: from {' to '.join(ends)}; {len(data['anomalies'])} anomalies shaded"


def _path(series: Mapping[str, Any], x: Any, y: Any) -> str:
    """Return an SVG path, broken where there is a gap; thinned to what a figure of this size shows."""
    step = max(1, len(series["time"]) // _POINTS)
    out, pen = [], "M"
    for at, value in zip(series["time"][::step], series["value"][::step], strict=True):
        if value is None:
            pen = "M"
            continue
        out.append(f"{pen}{x(at):.1f} {y(value):.1f}")
        pen = "L"
    return "".join(out) + ("h0.5" if len(out) == 1 else "")


def _shades(data: Mapping[str, Any], x: Any) -> str:
    drawn = []
    for each in data["anomalies"]:
        edges = (datetime.fromisoformat(each[side]).timestamp() * 1000 for side in ("start", "end"))
        left, right = (x(edge) for edge in edges)
        box = f'x="{left:.1f}" y="0" width="{max(right - left, 2):.1f}" height="{TALL}"'
        drawn.append(f'<rect class="shade" {box}><title>{escape(each["line"])}</title></rect>')
    return "".join(drawn)


def _frame(low: float, high: float, start: float, end: float, y: Any) -> str:
    """Return the axes: least and most beside, times below."""
    rows = ""
    for value in (low, (low + high) / 2, high):
        rows += f'<path class="grid" d="M{LEFT} {y(value):.1f}H{WIDE}"/>'
        rows += f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" class="end">{number(value)}</text>'
    form = "%H:%M" if end - start <= 2 * 86_400_000 else "%d %b"
    times = []
    for k in range(6):
        at = datetime.fromtimestamp((start + (end - start) * k / 5) / 1000, UTC)
        where = LEFT + (WIDE - LEFT) * k / 5
        anchor = "start" if k == 0 else "end" if k == 5 else "middle"
        times.append(
            f'<text x="{where:.0f}" y="{TALL + BELOW - 6}" class="{anchor}">{at.strftime(form)}</text>'
        )
    return rows + "".join(times)


def bar(share: float) -> Markup:
    """Return a part of a whole as a bar; its number stands beside it."""
    width = f"{max(min(share, 1.0), 0.0) * 100:.1f}"
    parts = Markup('<rect class="rest" width="100" height="10"/><rect class="part" width="{}" height="10"/>')
    head = Markup('<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">')
    return head + parts.format(width) + Markup("</svg>")


def amounts(history: Sequence[Mapping[str, Any]], now: float | None) -> Markup:
    """Return a card's payments as bars, the one that is judged last."""
    before = [abs(p["amount"]) for p in history if p.get("amount") is not None]
    shown = [*before, *([] if now is None else [abs(now)])]
    if not shown:
        return Markup("")
    most, bars = max(*shown, 1e-9), ""
    for k, value in enumerate(shown):
        last = now is not None and k == len(shown) - 1
        bars += f'<path class="{"b" if last else "q"}" d="M{k} 20v-{max(value / most * 20, 0.6):.1f}h.8V20"/>'
    words = f"{len(before)} payments before, up to {number(max(before, default=0.0))}"
    return _figure("strip small", (len(shown), 20), words, bars, stretched=True)
