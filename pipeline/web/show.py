"""Templates, and how they write times and numbers. In: what the steps return. Out: HTML, all escaped."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from pipeline import clock
from pipeline.alerts.text import clean, measured, moment, number, span
from pipeline.events import SEVERITIES
from pipeline.web import draw
from pipeline.web.statics import map_styles, mark

FOLDER = Path(__file__).parent
ANSWERS = (
    ("acknowledged", "Acknowledge", "I am looking at it; nobody else is told"),
    ("confirmed", "Confirmed", "It was a fault: later trainings do not learn from it"),
    ("false_alarm", "False alarm", "It is normal: later trainings learn from it; closes"),
    ("resolved", "Resolved", "It is over; opens again if it goes on"),
)
SNOOZES = (("1h", "1 hour"), ("8h", "8 hours"), ("1d", "1 day"))


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "ago": ago, "at": at, "number": _number, "measured": measured, "clean": clean, "long": long,
        "query": urlencode, "count": lambda n: f"{n:,}",
    }  # fmt: skip
    made.globals |= {
        "draw": draw,
        "mark": mark,
        "map_styles": map_styles(),
        "severities": tuple(reversed(SEVERITIES)),
        "answers": ANSWERS,
        "snoozes": SNOOZES,
    }
    return made


def html(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Render a page for whoever asks; the base knows who that is."""
    state = request.state
    known = {
        "base": request.scope.get("root_path", ""),
        "person": getattr(state, "person", None),
        "csrf": getattr(state, "csrf", ""),
        "inside": request.app.state.door.inside,
        "path": request.url.path,
        "version": request.app.version,
    }
    return HTMLResponse(_environment().get_template(template).render(known | values), status)


def _parsed(when: str | datetime) -> datetime:
    return datetime.fromisoformat(when) if isinstance(when, str) else when


def at(when: str | datetime | None) -> Markup | str:
    """Write a time in UTC, machine-readable besides."""
    if not when:
        return "–"
    found = _parsed(when)
    return Markup('<time datetime="{}">{}</time>').format(found.isoformat(), moment(found))


def ago(when: str | datetime | None) -> Markup | str:
    """Write how long ago a time was, and the time itself for who looks closer."""
    if not when:
        return "–"
    found = _parsed(when)
    passed = clock.now() - found
    said = f"{short(passed)} ago" if passed >= timedelta(0) else f"in {short(-passed)}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(found.isoformat(), moment(found), said)


def short(length: timedelta) -> str:
    """Write a length of time in its largest unit."""
    words = span(length).split(" ")
    return " ".join(words[:2])


def long(seconds: float | None) -> str:
    """Write seconds as people say them."""
    return "–" if seconds is None else span(timedelta(seconds=seconds))


def _number(value: float | None) -> str:
    return "–" if value is None else number(value)


def link(base: str, path: str, **query: Any) -> str:
    """Return an address below `base`, values quoted."""
    said: Mapping[str, Any] = {k: v for k, v in query.items() if v not in (None, "")}
    return f"{base}{path}" + (f"?{urlencode(said, doseq=True)}" if said else "")
