"""Figures made on the server: strips, lines and bars as SVG, with their words for who cannot see them.

In: series as the steps return them. Out: SVG text, every name escaped. Colours are the style sheet's, by class.
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
    words = f"Highest score {number(max(known))}; above the threshold in {over} of {len(cells)} {hours}-hour cells"
    drawn = "".join(f'<path class="{name}" d="{"".join(ds)}"/>' for name, ds in paths.items() if ds)
    box = f'viewBox="0 0 {len(cells)} 20" preserveAspectRatio="none"'
    return Markup(f'<svg class="strip" role="img" aria-label="{words}" {box}>{drawn}</svg>')  # noqa: S704


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
    words = _words(shown, values, data)
    return Markup(  # noqa: S704 - numbers of ours, and `_words` escaped
        f'<svg class="line" viewBox="0 0 {WIDE} {TALL + BELOW}" role="img" aria-label="{words}">{"".join(parts)}</svg>'
    )


def _words(shown: Mapping[str, Any], values: Sequence[float], data: Mapping[str, Any]) -> Markup:
    name = "Score, 1 is the threshold" if shown["name"] == "score" else shown["name"]
    if not values:
        return escape(f"{name}: no readings")
    ends = (measured(edge, shown["unit"]) for edge in (min(values), max(values)))
    return escape(f"{name}: from {' to '.join(ends)}; {len(data['anomalies'])} anomalies shaded")


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
        title = escape(each["line"])
        wide = max(right - left, 2)
        drawn.append(
            f'<rect class="shade" x="{left:.1f}" y="0" width="{wide:.1f}" height="{TALL}"><title>{title}</title></rect>'
        )
    return "".join(drawn)


def _frame(low: float, high: float, start: float, end: float, y: Any) -> str:
    """Return the axes: least and most beside, times below."""
    rows = "".join(
        f'<path class="grid" d="M{LEFT} {y(v):.1f}H{WIDE}"/><text x="{LEFT - 6}" y="{y(v) + 4:.1f}" class="end">{number(v)}</text>'
        for v in (low, (low + high) / 2, high)
    )
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
    width = max(min(share, 1.0), 0.0) * 100
    return Markup(  # noqa: S704 - a number of ours
        f'<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="rest" width="100" height="10"/><rect class="part" width="{width:.1f}" height="10"/></svg>'
    )


def amounts(history: Sequence[Mapping[str, Any]], now: float | None) -> Markup:
    """Return a card's payments as bars, the one that is judged last."""
    values = [p["amount"] for p in history if p.get("amount") is not None]
    shown = [*values, *([] if now is None else [now])]
    if not shown:
        return Markup("")
    most = max(max(abs(v) for v in shown), 1e-9)
    bars = "".join(
        f'<path class="{"b" if now is not None and k == len(shown) - 1 else "q"}" d="M{k} 20v-{max(abs(v) / most * 20, 0.6):.1f}h.8V20"/>'
        for k, v in enumerate(shown)
    )
    words = f"{len(values)} payments before, up to {number(max(values, default=0.0))}"
    return Markup(  # noqa: S704 - numbers of ours
        f'<svg class="strip small" role="img" aria-label="{words}" viewBox="0 0 {len(shown)} 20" preserveAspectRatio="none">{bars}</svg>'
    )
