"""One HTML page about a table that a colleague can open: everything is in it, nothing is fetched.

In: what was found. Out: `report.html`. Names come from files that anybody may have written: they are cleaned,
escaped, and the page's policy allows no address at all.
"""

from __future__ import annotations

import base64
import json
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.alerts.text import clean
from pipeline.evaluation import Figures
from pipeline.oneshot import words
from pipeline.oneshot.detect import Found
from pipeline.oneshot.scenes import Overview, Scene, axis, overview, scenes
from pipeline.oneshot.verdict import labels
from pipeline.scoring import micros

LISTED = 50
"""Anomalies in the page's list."""
SHADED = 400
LOG_FROM = 12.0
"""Highest score from which the score's axis is logarithmic."""
BINS = np.geomspace(0.02, 2000, 81)


def write_report(found: Found, figures: Figures | None, folder: Path, *, source: str) -> Path:
    """Write `report.html` into a folder, which is made where it is not there; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    path.write_text(render(found, figures, source=source), encoding="utf-8")
    return path


def render(found: Found, figures: Figures | None, *, source: str) -> str:
    """Return the page."""
    drawn = scenes(found, _labelled(found))
    page = files("pipeline.oneshot") / "page"
    text = {
        name: (page / f"page.{suffix}").read_text(encoding="utf-8")
        for name, suffix in (("page", "html"), ("style", "css"), ("script", "js"))
    }
    return Template(text["page"]).substitute(
        title=escape(clean(source, 120)),
        style=text["style"],
        script=text["script"],
        plotly=_plotly(),
        data=_json(_data(found, drawn)),
        **words.parts(found, figures, [scene.entity for scene in drawn], LISTED),
    )


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _json(data: Any) -> str:
    """Return JSON that may stand inside a script element."""
    return json.dumps(data, allow_nan=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")


def _data(found: Found, drawn: list[Scene]) -> dict[str, Any]:
    clock, history = found.layout.clock, found.learned.trained[""].history
    places = {scene.entity: number for number, scene in enumerate(drawn)}
    shown = [anomaly for anomaly in found.anomalies[:SHADED] if anomaly.entity in places]
    at = axis(clock, np.array([[a.first, a.last] for a in shown], np.int64).reshape(-1, 2))
    room = found.learned.bundle.stream.window.length * _step(found)
    return {
        "kind": found.ask.kind,
        "real": clock.real,
        "axis": "UTC" if clock.real else found.ask.time or "row",
        "log": bool(found.rows.score.max() > LOG_FROM),
        "scenes": [_scene(scene) for scene in drawn],
        "overview": _overview(overview(found)),
        "anomalies": [
            {"scene": places[a.entity], "from": begin, "to": end, "severity": a.severity, "room": room}
            for a, (begin, end) in zip(shown, at.tolist(), strict=True)
        ],
        "training": {key: [float(v) for v in history.get(key, [])] for key in ("loss", "val_loss")},
        "histogram": _histogram(found),
    }


def _scene(scene: Scene) -> dict[str, Any]:
    return {
        "entity": clean(scene.entity),
        "x": packed(scene.x, np.float64),
        "score": packed(scene.score),
        "labelled": scene.labelled,
        "signals": [
            {"name": clean(s.name, 60), "actual": packed(s.actual), "expected": packed(s.expected)}
            for s in scene.signals
        ],
    }


def _overview(many: Overview | None) -> dict[str, Any] | None:
    if many is None:
        return None
    return {
        "entities": [clean(name) for name in many.entities],
        "x": packed(many.x, np.float64),
        "score": [packed(row) for row in many.score],
    }


def packed(values: NDArray[np.floating[Any]], kind: type[np.floating[Any]] = np.float32) -> dict[str, str]:
    """Return numbers as the page's script unpacks them: little-endian bytes in base64."""
    with np.errstate(over="ignore"):
        plain = np.ascontiguousarray(values.astype(np.dtype(kind).newbyteorder("<")))
    data = base64.b64encode(plain.tobytes()).decode("ascii")
    return {"type": "f8" if kind is np.float64 else "f4", "data": data}


def _step(found: Found) -> float:
    """Return the usual distance of rows on the time axis; 0 for transactions."""
    if found.stream.kind != "sensor":
        return 0.0
    seconds = float(found.stream.grid.step.total_seconds())
    return seconds * 1e3 if found.layout.clock.real else seconds


def _histogram(found: Found) -> dict[str, Any]:
    """Return how scores are spread over the rows learned from, kept back, and only scored."""
    train, kept = found.layout.train, found.layout.time >= micros(found.learned.since)
    parts = {
        "learned from": train & ~kept,
        "kept back for the threshold": train & kept,
        "only scored": ~train,
    }
    middles = np.sqrt(BINS[1:] * BINS[:-1])
    score = np.clip(found.rows.score, BINS[0], BINS[-1])
    counts = {name: np.histogram(score[mask & found.rows.judged], BINS)[0] for name, mask in parts.items()}
    used = np.flatnonzero(sum(counts.values()) > 0)
    span = slice(int(used[0]), int(used[-1]) + 1)
    return {
        "middles": middles[span].tolist(),
        "parts": [
            {"name": name, "share": [v or None for v in (count[span] / count.sum()).tolist()]}
            for name, count in counts.items()
            if count.sum()
        ],
    }


def _labelled(found: Found) -> NDArray[np.bool_] | None:
    return labels(found.table, found.ask.label)[0] if found.ask.label else None
