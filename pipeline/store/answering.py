"""What becomes of an anomaly when people answer: pure functions, no I/O.

In: an anomaly and an answer. Out: the anomaly after it. Open and closed stay detection's, but that `resolved`
and `false_alarm` close, and `reopened` takes such a closing back.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from pipeline.events import (
    CLOSING,
    FALSE_ALARM,
    REOPENED,
    SEVERITIES,
    SNOOZED,
    VERDICTS,
    Anomaly,
    Answer,
    Event,
)


def answered(old: Anomaly, said: Answer, heard: datetime) -> Anomaly:
    """Return the anomaly with an answer that now stands; it may be closed by it, or open again.

    Args:
        old: the anomaly.
        said: the answer.
        heard: now, in the stream's own time: flags up to then are what a closing answer speaks of.
    """
    if said.what == REOPENED:
        return _reopened(old, said)
    new = replace(
        old,
        answer=said.what,
        answered_by=said.who,
        answered_at=said.at,
        snoozed_until=said.until if said.what == SNOOZED else None,
        verdict=said.what if said.what in VERDICTS else old.verdict,
        updated_at=said.at,
    )
    if said.what not in CLOSING:
        return new
    new = replace(new, settled=max(heard, old.end))
    if old.status == "closed":
        return new
    return replace(new, status="closed", closed_at=said.at, ending=said.what)


def forgotten(old: Anomaly) -> Anomaly:
    """Return an anomaly that went on after its end, without the answer that spoke of what was before.

    A snooze lasts as long as it was said to. A verdict stays, but for a false alarm that has become worse.
    """
    verdict = "" if old.answer == FALSE_ALARM else old.verdict
    old = replace(old, settled=None, verdict=verdict)
    return old if old.answer in ("", SNOOZED) else _unanswered(old)


def unsettled(old: Anomaly, event: Event) -> bool:
    """Tell whether an event of a closed anomaly is more than people meant when they closed it.

    What they called resolved goes on if it was flagged after that; a false alarm if it is more severe by now.
    """
    if old.settled is None:
        return True
    worse = SEVERITIES.index(event.severity) > SEVERITIES.index(old.severity)
    return event.end > old.settled and (worse or old.answer != FALSE_ALARM)


def _reopened(old: Anomaly, said: Answer) -> Anomaly:
    verdict = "" if old.answer in VERDICTS else old.verdict
    new = replace(_unanswered(old), verdict=verdict, settled=None, updated_at=said.at)
    if old.ending not in CLOSING:
        return new
    episode = old.episode + (not old.silent)
    return replace(new, status="open", closed_at=None, ending="", episode=episode)


def _unanswered(old: Anomaly) -> Anomaly:
    return replace(old, answer="", answered_by="", answered_at=None, snoozed_until=None)
