"""The pages: made on the server, whole without a script. In: requests. Out: HTML."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from pipeline import clock
from pipeline.errors import DataError
from pipeline.steps.series import CHANNELS, drawn
from pipeline.web import asked
from pipeline.web.api import Keep, Status
from pipeline.web.guard import answering
from pipeline.web.keeper import Keeper
from pipeline.web.people import Person
from pipeline.web.show import html, link

router = APIRouter(include_in_schema=False)
SNOOZES = {"1h": timedelta(hours=1), "8h": timedelta(hours=8), "1d": timedelta(days=1)}
LISTED = 200
Flag = Annotated[bool, Query()]


@router.get("/")
def home(request: Request, keep: Keep, q: Annotated[str, Query(max_length=100)] = "") -> Response:
    """All streams, the worst first."""
    rows = keep.rows()
    shown = [row for row in rows if q.casefold() in f"{row['stream']} {row['owner']}".casefold()]
    return html(request, "home.html", rows=shown, total=len(rows), q=q, seen=keep.seen)


@router.get("/streams/{name}")
def stream(
    request: Request,
    name: asked.Name,
    keep: Keep,
    entity: asked.Entity = None,
    start: asked.From = None,
    end: asked.To = None,
    channels: asked.Channels = None,
    expected: Flag = False,
) -> Response:
    """One stream: signals, entities, model, quality."""
    work = keep.work
    detail, entities = work.stream_detail(name), work.entities(name)
    entity = entity if entity is not None else entities[0]["entity"] if entities else ""
    row = next(row for row in keep.rows() if row["stream"] == name)
    wanted = asked.stretch(work.stream(name), keep.newest(name), entity, start, end, channels)
    found = work.anomalies(name, limit=20)
    signal = _signal(keep, name, wanted, expected=expected)
    return html(request, "stream.html", detail=detail, entities=entities, row=row, anomalies=found, **signal)


def _signal(keep: Keeper, name: str, wanted: Any, *, expected: bool) -> dict[str, Any]:
    """Return what the figure of a stretch needs: its data, where to look on, where scripts ask."""
    data = keep.work.series(name, wanted)
    if data["waits"]:
        keep.want(name)
    model: dict[str, Any] = {"channels": [], "why": "", "version": None}
    if expected:
        with keep.asking:
            model = keep.work.expected(name, wanted)
    query = {"entity": wanted.entity, "channels": list(wanted.channels)}
    span = wanted.end - wanted.start
    quarter = span / 2
    moves = {
        "earlier": (wanted.start - quarter, wanted.end - quarter),
        "later": (wanted.start + quarter, wanted.end + quarter),
        "closer": (wanted.start + span / 4, wanted.end - span / 4),
        "wider": (wanted.start - quarter, wanted.end + quarter),
    }
    return {
        "stream": name,
        "data": data,
        "model": {line["name"]: line for line in model["channels"]},
        "model_why": model["why"],
        "query": query,
        "series_url": link("", f"/api/v1/streams/{name}/series", **query),
        "expected_url": link("", f"/api/v1/streams/{name}/expected", **query),
        "moves": {
            k: link("", f"/streams/{name}", **query, **{"from": a.isoformat(), "to": b.isoformat()})
            for k, (a, b) in moves.items()
            if asked.FIRST < a < b < asked.LAST
        },
        "with_model": link(
            "", f"/streams/{name}", **query, **{"from": data["from"], "to": data["to"]}, expected=1
        ),
    }


@router.get("/streams/{name}/transactions")
def transactions(request: Request, name: asked.Name, keep: Keep, day: date | None = None) -> Response:
    """A day's list, as a fraud desk works it."""
    if day is not None and not asked.FIRST.date() < day < asked.LAST.date():
        raise DataError(f"no transactions on {day}")
    found = keep.work.transactions(name, day)
    shown = date.fromisoformat(found["day"])
    days = {"before": shown - timedelta(days=1), "after": shown + timedelta(days=1)}
    return html(request, "transactions.html", found=found, days=days)


@router.get("/anomalies")
def anomalies(
    request: Request, keep: Keep, stream: str | None = None, status: Status | None = None
) -> Response:
    """The newest anomalies."""
    found = keep.work.anomalies(stream or None, limit=LISTED, status=status)
    return html(
        request, "anomalies.html", rows=found, stream=stream or "", state=status or "",
        streams=sorted(keep.work.project.streams),
    )  # fmt: skip


@router.get("/anomalies/{identifier}")
def anomaly(request: Request, identifier: asked.Id, keep: Keep, expected: Flag = False) -> Response:
    """One anomaly."""
    return _anomaly(request, identifier, keep, expected=expected)


def _anomaly(
    request: Request,
    identifier: str,
    keep: Keeper,
    *,
    expected: bool = False,
    status: int = 200,
    wrong: str = "",
) -> Response:
    found = keep.work.anomaly(identifier)
    signal: dict[str, Any] = {"data": None}
    if found["stream"] in keep.work.project.streams:
        stream = keep.work.stream(found["stream"])
        blamed = [c["channel"] for c in found["channels"] if c["channel"] in drawn(stream)][:CHANNELS]
        start, end = (datetime.fromisoformat(t) for t in found["around"])
        end = max(end, start + timedelta(minutes=1))
        wanted = asked.stretch(stream, end, found["entity"], start, end, blamed)
        signal = _signal(keep, found["stream"], wanted, expected=expected)
    said = keep.work.answers(identifier)
    return html(request, "anomaly.html", status, anomaly=found, said=said, wrong=wrong, **signal)


@router.post("/anomalies/{identifier}/answers")
def answer(
    request: Request,
    identifier: asked.Id,
    keep: Keep,
    person: Annotated[Person, Depends(answering)],
    what: Annotated[str, Form(max_length=20)],
    why: Annotated[asked.Text, Form(max_length=2000)] = "",
) -> Response:
    """Answer by a form: `what` is an answer, or `snoozed-1h`, `snoozed-8h`, `snoozed-1d`."""
    said, _, long = what.partition("-")
    until = clock.now() + SNOOZES[long] if long in SNOOZES else None
    try:
        keep.work.answer(identifier, said, who=person.name, why=why, until=until)
    except DataError as error:
        return _anomaly(request, identifier, keep, status=422, wrong=str(error))
    base = request.scope.get("root_path", "")
    return RedirectResponse(f"{base}/anomalies/{identifier}#answers", 303)


@router.get("/answer/{token}")
def offer(request: Request, token: str, keep: Keep) -> Response:
    """Show what a signed link asks for; who follows it changes nothing yet."""
    try:
        return html(request, "answer.html", asked=keep.work.asked(token), done=None, wrong="")
    except DataError as error:
        return html(request, "answer.html", 410, asked=None, done=None, wrong=str(error))


@router.post("/answer/{token}")
def redeem(
    request: Request,
    token: str,
    keep: Keep,
    who: Annotated[asked.Text, Form(max_length=200)] = "",
    why: Annotated[asked.Text, Form(max_length=2000)] = "",
) -> Response:
    """Answer by a signed link, once. The token itself is what no other site can know."""
    try:
        done = keep.work.redeem(token, who=who, why=why)
        return html(request, "answer.html", asked=None, done=done, wrong="")
    except DataError as error:
        return html(request, "answer.html", 410, asked=None, done=None, wrong=str(error))
