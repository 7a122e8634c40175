"""What was like an anomaly before, and what became of it, in lines of an alert.

In: an anomaly, and earlier ones of its stream and kind, the newest first. Out: lines; none where nothing was
like it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pipeline.alerts import words
from pipeline.alerts.text import clean, moment
from pipeline.events import CONFIRMED, FALSE_ALARM, Anomaly

_SHOWN = 3


def lines(anomaly: Anomaly, earlier: Iterable[Anomaly]) -> list[str]:
    """Return lines on earlier anomalies with the same leading channel, those of the same entity first."""
    alike = [each for each in earlier if each.id != anomaly.id and _leading(each) == _leading(anomaly)]
    if not alike:
        return []
    here = [each for each in alike if each.entity == anomaly.entity]
    verdicts = Counter(each.verdict for each in alike)
    said = [f"{verdicts[what]} {name}" for what, name in _NAMES.items() if verdicts[what]]
    count = f"{len(alike)} like it, {len(here)} of {words.named(anomaly)}"
    others = [each for each in alike if each.entity != anomaly.entity]
    shown = [f"  {_one(each)}" for each in (*here, *others)[:_SHOWN]]
    return [f"Before         {'; '.join([count, *said])}", *shown, ""]


_NAMES = {CONFIRMED: "confirmed", FALSE_ALARM: "called a false alarm"}


def _one(each: Anomaly) -> str:
    told = f"{moment(each.start)} {words.who(each)}{words.what(each)}, for {words.lasting(each)}"
    answer = f" ({_NAMES.get(each.answer, each.answer)} by {clean(each.answered_by)})" if each.answer else ""
    return told + answer


def _leading(anomaly: Anomaly) -> str:
    return anomaly.channels[0].channel if anomaly.channels else ""
