"""Names, numbers and times as people read them, safe whatever they hold.

In: values from streams, which anybody may have written. Out: one line of printable text.
"""

from __future__ import annotations

import math
import unicodedata
from datetime import UTC, datetime, timedelta

MONEY = frozenset(
    "EUR,USD,GBP,CHF,JPY,CNY,INR,BRL,AUD,CAD,SEK,NOK,DKK,PLN,CZK,HUF,ZAR,MXN,TRY,€,$,£,¥".split(",")  # noqa: SIM905
)


def clean(text: str, limit: int = 80) -> str:
    """Return one printable line of at most `limit` characters.

    Control, format (right-to-left marks among them), surrogate and unassigned characters become `\ufffd`,
    all white space becomes blanks.
    """
    head = text[: 4 * limit]
    printable = "".join(_shown(c) for c in head)
    line = " ".join(printable.split())
    return line if len(line) <= limit and len(head) == len(text) else line[: limit - 1] + "…"


def number(value: float, unit: str = "") -> str:
    """Write a number as exactly as a person needs it: money to the cent, the rest to four digits."""
    if not math.isfinite(value):
        return "?"
    if unit.upper() in MONEY:
        return f"{value:,.2f}"
    if not value:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if not -4 <= size < 9:
        return f"{value:.3g}"
    text = f"{value:,.{max(3 - size, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def about(expected: float, actual: float) -> str:
    """Write an expectation: two digits, or as many as it takes to tell it from what was measured."""
    if not abs(expected) < 1e15:
        return number(expected)
    return number(round(expected, max(_places(expected), _places(actual - expected))))


def usual(spread: float) -> str:
    """Write how far off something usually is, to two digits."""
    return number(round(spread, _places(spread)))


def measured(value: float, unit: str) -> str:
    """Write a number with its unit."""
    return f"{number(value, unit)} {clean(unit, 32)}".rstrip()


def moment(at: datetime, *, seen: datetime | None = None) -> str:
    """Write a time in UTC; without its date if it is the day `seen`."""
    utc = at.astimezone(UTC)
    near = seen is not None and seen.astimezone(UTC).date() == utc.date()
    return f"{utc:%H:%M} UTC" if near else f"{utc:%Y-%m-%d %H:%M} UTC"


def span(length: timedelta) -> str:
    """Write a length of time in its two largest units."""
    seconds = max(round(length.total_seconds()), 0)
    parts = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def _shown(character: str) -> str:
    if character.isspace():
        return " "
    return "\ufffd" if unicodedata.category(character)[0] == "C" else character


def _places(value: float) -> int:
    """Return how many decimals show two digits of it."""
    return 1 - math.floor(math.log10(abs(value))) if value and math.isfinite(value) else 0
