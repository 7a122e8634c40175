"""An alert in words: what is wrong, in the stream's own names and units, and where to look.

In: an outbox payload. Out: a `Message`. Nothing in it is trusted: every name is cleaned on its way in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from pipeline.alerts import incident, words
from pipeline.alerts.message import About, Message
from pipeline.alerts.text import clean, measured, moment, usual
from pipeline.config.receivers import Links
from pipeline.events import (
    ACKNOWLEDGED,
    FAILURE,
    FALSE_ALARM,
    FLATLINE,
    LATE,
    PRECISION,
    RANGE,
    RECONSTRUCTION,
    SILENCE,
    SNOOZED,
    WITHDRAWN,
    Anomaly,
    Claimed,
    Contribution,
)

_IDS = 20
_CHANNELS = 10
_FOUND_BY = {
    RECONSTRUCTION: "the model: it could not reconstruct this",
    SILENCE: "the watchdog of silence: others still send",
    LATE: "the watchdog of lateness: nobody sends",
    FLATLINE: "the watchdog of flat lines: a channel that moves stands still",
    RANGE: "the watchdog of limits: low and high in the stream's YAML",
    FAILURE: "Airflow: a step of the pipeline gave up, and nothing is looked at as long as it does",
    PRECISION: "people's answers: fewer alerts are right than before; train again, or look at what changed",
}
_LESS = {
    SILENCE: "watch: {silence: 6h}",
    LATE: "watch: {late: 6h}",
    FLATLINE: "watch: {flatline: 6h}",
    RANGE: "low and high of the channel",
}


def render(
    claimed: Claimed,
    links: Links,
    picture: bytes | None = None,
    about: About | None = None,
    *,
    answers: Mapping[str, str] | None = None,
    before: Sequence[str] = (),
) -> Message:
    """Return the message to send.

    Args:
        claimed: what stands in the outbox.
        links: where to click through to.
        picture: PNG.
        about: the stream, as its YAML describes it today.
        answers: where to click to answer, by the answer.
        before: lines on what was like it before, and what became of it.

    Raises:
        KeyError, TypeError, ValueError: the payload is not one of ours.
    """
    about = about or About()
    if claimed.event == "meta":
        return _meta(claimed, links, about)
    anomaly = Anomaly.from_json(claimed.payload)
    where, told = link_to(anomaly, links), claimed.payload.get("incident", {})
    title, answers = title_of(claimed.event, anomaly, told), answers or {}
    if claimed.event == "resolved":
        lines = [*_end(anomaly), *_about(about)]
    else:
        lines = [*_facts(anomaly), *incident.lines(told), "", *before, *_about(about)]
        lines += [*_how_to_silence(anomaly), *_answers(answers)]
    return Message(
        key=claimed.key,
        event=claimed.event,
        stream=anomaly.stream,
        title=title,
        text="\n".join([title, "", *lines, *_links(where, claimed.key)]),
        severity=anomaly.severity,
        data={"anomaly": _data(anomaly), "links": {**where, **answers}}
        | ({"incident": told} if told else {})
        | _described(about),
        created_at=claimed.created_at,
        picture=picture if claimed.event == "firing" else None,
        thread=str(told.get("key") or f"{anomaly.id}-{anomaly.episode}"),
    )


def title_of(event: str, anomaly: Anomaly, told: Mapping[str, Any]) -> str:
    """Return the one line of an alert, of one anomaly or of an incident (`told`) of many."""
    if event == "resolved":
        return _one_line(incident.ending(told, anomaly)) if incident.many(told) else resolved_title(anomaly)
    return _one_line(incident.headline(told, anomaly))


def firing_title(anomaly: Anomaly) -> str:
    """Say in one line what is wrong: `pump_station: pump-7 vibration 9.1 mm/s, expected 2.3, since …`."""
    return _one_line(incident.headline({}, anomaly))


def resolved_title(anomaly: Anomaly) -> str:
    """Say in one line that it is over."""
    how = WITHDRAWN if anomaly.ending == WITHDRAWN else "ended" if anomaly.ending else "resolved"
    return _one_line(f"{anomaly.stream}: {words.resolved(anomaly)} — {how}")


def link_to(anomaly: Anomaly, links: Links) -> dict[str, str]:
    """Return where to click through to: the MLflow run of the model, the Airflow run that scored."""
    found = {}
    if anomaly.run:
        found["mlflow_run"] = f"{links.mlflow.rstrip('/')}/#/runs/{_quoted(anomaly.run)}"
    if anomaly.airflow_run:
        dag, _, run = anomaly.airflow_run.partition("/")
        where = f"dags/{_quoted(dag)}/runs/{_quoted(run)}"
        found["airflow_run"] = f"{links.airflow.rstrip('/')}/{where}"
    return found


def _quoted(text: str) -> str:
    return quote(text[:300], safe="", errors="replace")


def _meta(claimed: Claimed, links: Links, about: About) -> Message:
    lost, receiver = claimed.payload["alert"], clean(claimed.payload["receiver"])
    anomaly = Anomaly.from_json(lost)
    what = title_of(str(claimed.payload["event"]), anomaly, lost.get("incident", {}))
    attempts = int(claimed.payload["attempts"])
    title = _one_line(f"{anomaly.stream}: {receiver} could not be told, given up after {_times(attempts)}")
    where = link_to(anomaly, links)
    error = clean(str(claimed.payload["error"]), 300)
    text = [title, "", f"The alert      {what}", f"Receiver       {receiver}", f"Last error     {error}"]
    return Message(
        key=claimed.key,
        event="meta",
        stream=anomaly.stream,
        title=title,
        text="\n".join([*text, *_links(where, claimed.key)]),
        severity=anomaly.severity,
        data={"receiver": receiver, "error": error, "attempts": attempts, "anomaly": _data(anomaly)}
        | {"links": where}
        | _described(about),
        created_at=claimed.created_at,
        thread=f"{anomaly.id}-{anomaly.episode}-undelivered",
    )


def _data(anomaly: Anomaly) -> Mapping[str, Any]:
    plain = anomaly.to_json()
    ids = plain["ids"]
    return plain | {"entity": clean(anomaly.entity, 256), "ids": ids[:100], "transactions": len(ids)}


def _period(anomaly: Anomaly) -> str:
    """Say from when to when, in full: `2026-01-01 03:12 UTC to 2026-01-01 03:24 UTC, 12 min`."""
    start = moment(anomaly.start)
    if anomaly.status == "open":
        return f"since {start}, for {words.lasting(anomaly)}, still going on"
    if anomaly.start == anomaly.end:
        return start
    return f"{start} to {moment(anomaly.end)}, {words.lasting(anomaly)}"


def _facts(anomaly: Anomaly) -> list[str]:
    lines = [
        f"Stream         {anomaly.stream}",
        f"{(clean(anomaly.noun, 13) or 'entity').capitalize():<14} {clean(anomaly.entity)}",
        f"Severity       {clean(anomaly.severity)}{_peak(anomaly)}",
        f"Found by       {_FOUND_BY.get(anomaly.kind, clean(anomaly.kind))}",
        f"When           {_period(anomaly)}",
        f"Worst reading  {moment(anomaly.peak)}" if anomaly.kind in (RECONSTRUCTION, RANGE) else "",
        f"Model          version {anomaly.version}" if anomaly.version is not None else "",
        *_ids(anomaly),
    ]
    return [line for line in lines if line] + _channels(anomaly)


def _peak(anomaly: Anomaly) -> str:
    """Say how bad it was, where that is a number people can use."""
    if anomaly.kind == RECONSTRUCTION:
        return f", peak {anomaly.peak_score:.3g} times the threshold"
    return ""


def _about(about: About) -> list[str]:
    lines = [
        f"Owner          {clean(about.owner, 200)}" if about.owner.strip() else "",
        f"About          {clean(about.description, 600)}" if about.description.strip() else "",
    ]
    return [line for line in lines if line]


def _described(about: About) -> dict[str, Any]:
    """Return the stream's description and owner for machines, whole and with line breaks."""
    return {"description": about.description, "owner": about.owner}


def _end(anomaly: Anomaly) -> list[str]:
    return [
        f"When           {_period(anomaly)}",
        f"It was         {clean(anomaly.severity)}: {words.who(anomaly)}{words.what(anomaly)}",
        *([f"Since changed  {words.revised(anomaly)}"] if anomaly.revised else []),
        *_ids(anomaly),
    ]


def _channels(anomaly: Anomaly) -> list[str]:
    shown = anomaly.channels[:_CHANNELS]
    if not shown:
        return []
    rows = [("share", "channel", "actual", "expected")] + [_channel(c) for c in shown]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    table = [
        "  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    more = len(anomaly.channels) - len(shown)
    return ["", *table, *([f"  and {more} more"] if more else [])]


def _channel(part: Contribution) -> tuple[str, str, str, str]:
    def value(x: float | None) -> str:
        return "–" if x is None else measured(x, part.unit)

    expected = value(part.expected) + (f" ± {usual(part.spread)}" if part.spread else "")
    return f"{part.share:.0%}".rjust(5), clean(part.channel, 40), value(part.actual), expected


def _ids(anomaly: Anomaly) -> list[str]:
    if not anomaly.ids:
        return []
    more = len(anomaly.ids) - _IDS
    shown = ", ".join(clean(i, 64) for i in anomaly.ids[:_IDS])
    return [f"Transactions   {shown}{f' and {more} more' if more > 0 else ''}"]


def _links(where: Mapping[str, str], key: str) -> list[str]:
    names = {"mlflow_run": "MLflow run", "airflow_run": "Airflow run"}
    return ["", *(f"{names[k]:<14} {v}" for k, v in where.items()), f"Alert          {key}"]


def _answers(answers: Mapping[str, str]) -> list[str]:
    """Say where to answer; whoever has the link may."""
    names = {ACKNOWLEDGED: "Acknowledge", SNOOZED: "Snooze", FALSE_ALARM: "False alarm"}
    return [f"{names.get(what, what):<14} {link}" for what, link in answers.items()]


def _how_to_silence(anomaly: Anomaly) -> list[str]:
    file = f"configs/streams/{anomaly.stream}.yaml"
    less = f" `{_LESS[anomaly.kind]}`, or for the whole stream" if anomaly.kind in _LESS else ""
    say = f"no more pages until this one ends; to hear less set{less} `alert: {{receivers: []}}`"
    return [f"To silence     {say} in {file}"]


def _times(count: int) -> str:
    return "one attempt" if count == 1 else f"{count} attempts"


def _one_line(title: str) -> str:
    return clean(title, 400)
