"""An incident in words: many anomalies told as one, one that still goes on, or what is beyond a limit.

In: what a notification says of its incident, and the anomaly that it is known by. Out: titles and lines,
printable whatever names hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.alerts import words
from pipeline.alerts.text import clean
from pipeline.events import Anomaly

_STILL = {"repeat": "still open", "escalated": "nobody has answered"}


def many(facts: Mapping[str, Any]) -> bool:
    """Tell whether it is more than one anomaly that is told."""
    return int(facts.get("count", 1)) > 1 or bool(facts.get("digest"))


def headline(facts: Mapping[str, Any], worst: Anomaly) -> str:
    """Say what is wrong: `pump_station: 40 pumps, line a: pump-7 vibration 9.1 mm/s, expected 2.3, …`."""
    told = f"{worst.stream}: {words.firing(worst)}"
    if facts.get("digest"):
        told = f"{_count(facts)} beyond the limit, the worst: {told}"
    elif many(facts):
        head = f"{worst.stream}: " if int(facts["streams"]) == 1 else ""
        told = f"{head}{_count(facts)}{_where(facts)}: {words.firing(worst)}"
    still = _STILL.get(str(facts.get("why")))
    return (f"{still}: {told}" if still else told) + f" — {clean(worst.severity)}"


def ending(facts: Mapping[str, Any], worst: Anomaly) -> str:
    """Say that all of it is over: `pump_station: 40 pumps, line a: all over — resolved`."""
    head = f"{worst.stream}: " if int(facts["streams"]) == 1 else ""
    return f"{head}{_count(facts)}{_where(facts)}: all over — resolved"


def lines(facts: Mapping[str, Any]) -> list[str]:
    """Return how many there are, and the worst of them one by one."""
    if not many(facts):
        return []
    count, still = int(facts["count"]), int(facts["open"])
    told = [f"Incident       {_count(facts)}{_where(facts)}, {still} going on"]
    shown = [f"  {clean(str(each), 200)}" for each in facts["lines"]]
    more = count - len(shown)
    return ["", *told, *shown, *([f"  and {more} more"] if shown and more > 0 else [])]


def _count(facts: Mapping[str, Any]) -> str:
    count, noun = int(facts["count"]), clean(str(facts.get("noun") or ""), 32)
    if facts.get("digest"):
        return f"{count} alert{'s' if count != 1 else ''}"
    return f"{count} {noun or 'anomalie'}s"


def _where(facts: Mapping[str, Any]) -> str:
    """Say what they have in common, but for the stream, which the line begins with: `, line a`."""
    labels = {name: value for name, value in facts["labels"].items() if name != "stream" and value}
    return "".join(f", {clean(name, 32)} {clean(value, 64)}" for name, value in labels.items())
