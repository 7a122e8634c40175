"""What an anomaly is, in plain words, by what found it: the model, or one of the watchdogs.

In: an anomaly. Out: parts of one line, printable whatever its names hold.
"""

from __future__ import annotations

from datetime import timedelta

from pipeline.alerts.text import about, clean, measured, moment, number, span, usual
from pipeline.events import (
    FAILURE,
    FLATLINE,
    LATE,
    LATE_RECORDS,
    MERGED,
    RANGE,
    SILENCE,
    VOID,
    WITHDRAWN,
    Anomaly,
    Contribution,
)


def firing(anomaly: Anomaly) -> str:
    """Say what is wrong, where and since when: `pump-7 vibration 9.1 mm/s, expected 2.3, since …`."""
    if anomaly.kind == FAILURE:
        return f"{named(anomaly)} has failed {_when(anomaly)}: {_channel(anomaly).strip()}"
    if anomaly.kind == LATE:
        return f"no new records {_when(anomaly)}{usually(anomaly)}"
    if anomaly.kind == SILENCE:
        verb = "has sent nothing" if anomaly.status == "open" else "sent nothing"
        return f"{named(anomaly)} {verb} {_when(anomaly)}{usually(anomaly)}"
    if anomaly.kind == FLATLINE:
        return f"{who(anomaly)}{what(anomaly)} {_when(anomaly)}{usually(anomaly)}"
    return f"{who(anomaly)}{what(anomaly)}, {_when(anomaly)}"


def resolved(anomaly: Anomaly) -> str:
    """Say how it ended: `pump-7 vibration back to normal since …`; or that this was not seen."""
    end = moment(anomaly.end, seen=anomaly.opened_at)
    name = named(anomaly) + _channel(anomaly)
    lasted = anomaly.end > anomaly.start
    when = f"since {end}, after {lasting(anomaly)}" if lasted else f"after {end}"
    endings = {
        "silent": f"{name}: nothing more is known, it has fallen silent",
        "gone": f"{named(anomaly)} is taken to be gone: nothing for {lasting(anomaly)}",
        "regained": f"{name} is what it was",
        "unwatched": f"{name}: not watched any more",
        MERGED: f"{name}: part of another anomaly by now",
        "resolved": f"{name}: {clean(anomaly.answered_by)} says that it is resolved",
        "false_alarm": f"{name}: {clean(anomaly.answered_by)} says that it was a false alarm",
    }
    over = {
        FAILURE: f"{named(anomaly)} works again {when}",
        LATE: f"records come again {when}",
        SILENCE: f"{named(anomaly)} sends again {when}",
        FLATLINE: f"{name} moves again {when}",
        RANGE: f"{name} within its limits again {when}",
    }
    if anomaly.ending == WITHDRAWN:
        return f"{name}: {_why(anomaly)} show that it was none"
    return endings.get(anomaly.ending) or over.get(anomaly.kind) or f"{name} back to normal {when}"


def revised(anomaly: Anomaly) -> str:
    """Say what late records or a replay made of it, and what it was before; nothing where none did."""
    if (was := anomaly.revised) is None:
        return ""
    verb = anomaly.ending if anomaly.ending in VOID else "revised"
    before = f"{moment(was.start)} to {moment(was.end)}, {clean(was.severity)}"
    return f"{verb} {moment(was.at)}, as {_why(anomaly)} show; it was {before}"


def _why(anomaly: Anomaly) -> str:
    late = anomaly.revised is not None and anomaly.revised.why == LATE_RECORDS
    return "late records" if late else "scores of a replay"


def who(anomaly: Anomaly) -> str:
    """Name the entity at the head of a line; nothing where the stream is one machine."""
    name = clean(anomaly.entity)
    if anomaly.noun:
        return f"{clean(anomaly.noun)} {name}: "
    return "" if anomaly.entity in ("", anomaly.stream) else f"{name} "


def named(anomaly: Anomaly) -> str:
    """Name the entity as the subject of a sentence."""
    return who(anomaly).rstrip(": ") or anomaly.stream


def what(anomaly: Anomaly) -> str:
    """Say what about its leading channel is wrong."""
    channel = next(iter(anomaly.channels), None)
    if anomaly.kind in (SILENCE, LATE):
        return "silent" if anomaly.kind == SILENCE else "late"
    if channel is None:
        return f"score {anomaly.peak_score:.3g} times the threshold"
    return _told(anomaly, channel)


def _told(anomaly: Anomaly, channel: Contribution) -> str:
    name = clean(channel.channel)
    if channel.actual is None:
        return f"unusual {name}"
    actual = measured(channel.actual, channel.unit)
    if anomaly.kind == FLATLINE:
        more = len(anomaly.channels) - 1
        verb = "has been exactly" if anomaly.status == "open" else "was exactly"
        return f"{name} {verb} {actual}" + (f" (and {more} more flat)" if more else "")
    if anomaly.kind == RANGE:
        return f"{name} {actual}, {_limit(channel)}"
    if channel.expected is None:
        return f"unusual {name} {actual}"
    guess = about(channel.expected, channel.actual)
    if channel.spread:
        guess += f" ± {usual(channel.spread)}"
    return f"{name} {actual}, expected {'about ' if anomaly.stream_kind == 'transaction' else ''}{guess}"


def usually(anomaly: Anomaly) -> str:
    """Say how it usually is, where that was learned."""
    if anomaly.usual is None or not anomaly.usual > 0:
        return ""
    long = _short(anomaly.usual)
    return {
        SILENCE: f"; it usually sends every {long}",
        LATE: f"; the newest is usually at most {long} old",
        FLATLINE: f"; it usually changes within {long}",
    }.get(anomaly.kind, "")


def lasting(anomaly: Anomaly) -> str:
    """Say how long it lasted, or lasts so far."""
    return span(anomaly.end - anomaly.start)


def _when(anomaly: Anomaly) -> str:
    start = moment(anomaly.start, seen=anomaly.opened_at)
    if anomaly.start == anomaly.end:
        return f"at {start}"
    return f"{'since' if anomaly.status == 'open' else 'from'} {start} for {lasting(anomaly)}"


def _channel(anomaly: Anomaly) -> str:
    return f" {clean(anomaly.channels[0].channel)}" if anomaly.channels else ""


def _limit(channel: Contribution) -> str:
    if channel.actual is None or channel.expected is None:
        return "outside its limits"
    side = "above" if channel.actual > channel.expected else "below"
    return f"{side} its limit of {number(channel.expected, channel.unit)}"


def _short(seconds: float) -> str:
    return f"{number(seconds)} s" if seconds < 120 else span(timedelta(seconds=seconds))
