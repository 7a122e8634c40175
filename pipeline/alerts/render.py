"""An alert in words: what is wrong, in the stream's own names and units, and where to look.

In: an outbox payload. Out: a `Message`. Nothing in it is trusted: every name is cleaned on its way in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pipeline.alerts.message import Message
from pipeline.alerts.text import about, clean, measured, moment, span
from pipeline.config.receivers import Links
from pipeline.events import Anomaly, Claimed, Contribution

_IDS = 20
_CHANNELS = 10


def render(claimed: Claimed, links: Links, picture: bytes | None = None) -> Message:
    """Return the message to send.

    Raises:
        KeyError, TypeError, ValueError: the payload is not one of ours.
    """
    if claimed.event == "meta":
        return _meta(claimed, links)
    anomaly = Anomaly.from_json(claimed.payload)
    where = link_to(anomaly, links)
    if claimed.event == "resolved":
        title, lines = resolved_title(anomaly), _end(anomaly)
    else:
        title, lines = firing_title(anomaly), _facts(anomaly) + _how_to_silence(anomaly)
    return Message(
        key=claimed.key,
        event=claimed.event,
        stream=anomaly.stream,
        title=title,
        text="\n".join([title, "", *lines, *_links(where, claimed.key)]),
        severity=anomaly.severity,
        data={"anomaly": _data(anomaly), "links": where},
        created_at=claimed.created_at,
        picture=picture if claimed.event == "firing" else None,
    )


def firing_title(anomaly: Anomaly) -> str:
    """Say in one line what is wrong: `pump_station: pump-7 vibration 9.1 mm/s, expected 2.3, since …`."""
    what = f"{_who(anomaly)}{_what(anomaly)}, {_when(anomaly)}"
    return _one_line(f"{anomaly.stream}: {what} — {clean(anomaly.severity)}")


def resolved_title(anomaly: Anomaly) -> str:
    """Say in one line that it is over."""
    channel = _leading(anomaly)
    about_what = f" {clean(channel.channel)}" if channel else ""
    who = _who(anomaly).rstrip(": ") or anomaly.stream
    end = moment(anomaly.end, seen=anomaly.opened_at)
    when = f"since {end}, after {_lasted(anomaly)}" if anomaly.end > anomaly.start else f"after {end}"
    return _one_line(f"{anomaly.stream}: {who}{about_what} back to normal {when} — resolved")


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


def _meta(claimed: Claimed, links: Links) -> Message:
    lost, receiver = claimed.payload["alert"], clean(claimed.payload["receiver"])
    anomaly = Anomaly.from_json(lost)
    what = resolved_title(anomaly) if claimed.payload["event"] == "resolved" else firing_title(anomaly)
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
        | {"links": where},
        created_at=claimed.created_at,
    )


def _data(anomaly: Anomaly) -> Mapping[str, Any]:
    plain = anomaly.to_json()
    ids = plain["ids"]
    return plain | {"entity": clean(anomaly.entity, 256), "ids": ids[:100], "transactions": len(ids)}


def _who(anomaly: Anomaly) -> str:
    name = clean(anomaly.entity)
    if anomaly.noun:
        return f"{clean(anomaly.noun)} {name}: "
    return "" if anomaly.entity in ("", anomaly.stream) else f"{name} "


def _leading(anomaly: Anomaly) -> Contribution | None:
    return next(iter(anomaly.channels), None)


def _what(anomaly: Anomaly) -> str:
    channel = _leading(anomaly)
    if channel is None:
        return f"score {anomaly.peak_score:.3g} times the threshold"
    name = clean(channel.channel)
    if channel.actual is None:
        return f"unusual {name}"
    actual = f"{name} {measured(channel.actual, channel.unit)}"
    if channel.expected is None:
        return f"unusual {actual}"
    guess = about(channel.expected, channel.actual)
    return f"{actual}, expected {'about ' if anomaly.kind == 'transaction' else ''}{guess}"


def _when(anomaly: Anomaly) -> str:
    start = moment(anomaly.start, seen=anomaly.opened_at)
    if anomaly.start == anomaly.end:
        return f"at {start}"
    return f"{'since' if anomaly.status == 'open' else 'from'} {start} for {_lasted(anomaly)}"


def _lasted(anomaly: Anomaly) -> str:
    return span(anomaly.end - anomaly.start)


def _period(anomaly: Anomaly) -> str:
    """Say from when to when, in full: `2026-01-01 03:12 UTC to 2026-01-01 03:24 UTC, 12 min`."""
    start = moment(anomaly.start)
    if anomaly.status == "open":
        return f"since {start}, for {_lasted(anomaly)}, still going on"
    if anomaly.start == anomaly.end:
        return start
    return f"{start} to {moment(anomaly.end)}, {_lasted(anomaly)}"


def _facts(anomaly: Anomaly) -> list[str]:
    lines = [
        f"Stream         {anomaly.stream}",
        f"{(clean(anomaly.noun, 13) or 'entity').capitalize():<14} {clean(anomaly.entity)}",
        f"Severity       {clean(anomaly.severity)}, peak {anomaly.peak_score:.3g} times the threshold",
        f"When           {_period(anomaly)}",
        f"Worst reading  {moment(anomaly.peak)}",
        f"Model          version {anomaly.version}" if anomaly.version is not None else "",
        *_ids(anomaly),
    ]
    return [line for line in lines if line] + _channels(anomaly)


def _end(anomaly: Anomaly) -> list[str]:
    return [
        f"When           {_period(anomaly)}",
        f"It was         {clean(anomaly.severity)}: {_who(anomaly)}{_what(anomaly)}",
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

    return f"{part.share:.0%}".rjust(5), clean(part.channel, 40), value(part.actual), value(part.expected)


def _ids(anomaly: Anomaly) -> list[str]:
    if not anomaly.ids:
        return []
    more = len(anomaly.ids) - _IDS
    shown = ", ".join(clean(i, 64) for i in anomaly.ids[:_IDS])
    return [f"Transactions   {shown}{f' and {more} more' if more > 0 else ''}"]


def _links(where: Mapping[str, str], key: str) -> list[str]:
    names = {"mlflow_run": "MLflow run", "airflow_run": "Airflow run"}
    return ["", *(f"{names[k]:<14} {v}" for k, v in where.items()), f"Alert          {key}"]


def _how_to_silence(anomaly: Anomaly) -> list[str]:
    file = f"configs/streams/{anomaly.stream}.yaml"
    say = "no more pages until this one ends; for the whole stream set `alert: {receivers: []}`"
    return ["", f"To silence     {say} in {file}"]


def _times(count: int) -> str:
    return "one attempt" if count == 1 else f"{count} attempts"


def _one_line(title: str) -> str:
    return clean(title, 400)
