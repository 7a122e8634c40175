"""The JSON API beside the page: the same answers, for programs. Described at /api/v1/openapi.json."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import DataError
from pipeline.steps.series import POINTS
from pipeline.web import asked
from pipeline.web.guard import answering
from pipeline.web.keeper import Keeper
from pipeline.web.people import Person

router = APIRouter(prefix="/api/v1", tags=["Offbeat"])
Rows = list[dict[str, Any]]
What = Literal["acknowledged", "snoozed", "resolved", "false_alarm", "confirmed", "reopened"]
Status = Literal["open", "closed"]
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": "Error", "description": text}
    for status, text in (
        (401, "nobody is logged in"),
        (404, "there is no such stream or anomaly"),
        (409, "the stored data cannot be used so"),
        (503, "a store does not answer; try again later"),
    )
}


class Error(BaseModel):
    """What went wrong."""

    error: str


for _described in _ERRORS.values():
    _described["model"] = Error


class Said(BaseModel):
    """What somebody says of an anomaly."""

    model_config = ConfigDict(extra="forbid")

    what: What
    why: asked.Text = Field(default="", max_length=2000)
    until: asked.Moment | None = None
    """End of a snooze; no other answer has one."""


def keeper(request: Request) -> Keeper:
    """Return what the app shows."""
    found: Keeper = request.app.state.keeper
    return found


Keep = Annotated[Keeper, Depends(keeper)]


@router.get("/streams", responses=_ERRORS)
def streams(keep: Keep) -> Rows:
    """All streams, the worst first: health, champion, open anomalies, a week of scores."""
    return keep.rows()


@router.get("/streams/{name}", responses=_ERRORS)
def stream(name: asked.Name, keep: Keep) -> dict[str, Any]:
    """One stream: counts, rejects by reason, its model."""
    return keep.work.stream_detail(name)


@router.get("/streams/{name}/entities", responses=_ERRORS)
def entities(name: asked.Name, keep: Keep) -> Rows:
    """Its machines or cards: those with something open first, then the worst."""
    return keep.work.entities(name)


@router.get("/streams/{name}/series", responses=_ERRORS)
def series(
    name: asked.Name,
    keep: Keep,
    entity: asked.Entity = None,
    start: asked.From = None,
    end: asked.To = None,
    channels: asked.Channels = None,
    points: asked.Points = POINTS,
) -> dict[str, Any]:
    """Signals, scores and anomalies of a stretch, however long, in as many points as asked for.

    `waits` above 0: days are missing whose levels are being made. Ask again.
    """
    wanted = _stretch(keep, name, entity, start, end, channels, points)
    found = keep.work.series(name, wanted)
    if found["waits"]:
        keep.want(name)
    return found


@router.get("/streams/{name}/expected", responses=_ERRORS)
def expected(
    name: asked.Name,
    keep: Keep,
    entity: asked.Entity = None,
    start: asked.From = None,
    end: asked.To = None,
    channels: asked.Channels = None,
    points: asked.Points = POINTS,
) -> dict[str, Any]:
    """What the champion expects of a stretch, by asking it again; `why` says where it is not asked."""
    wanted = _stretch(keep, name, entity, start, end, channels, points)
    with keep.asking:
        return keep.work.expected(name, wanted)


def _stretch(keep: Keeper, name: str, entity: str | None, *rest: Any) -> Any:
    stream = keep.work.stream(name)
    if entity is None:
        found = keep.work.entities(name)
        entity = found[0]["entity"] if found else ""
    return asked.stretch(stream, keep.newest(name), entity, *rest)


@router.get("/streams/{name}/transactions", responses=_ERRORS)
def transactions(
    name: asked.Name, keep: Keep, day: Annotated[date | None, Query(description="UTC.")] = None
) -> dict[str, Any]:
    """A day's hundred transactions with the highest scores, each with its card's history."""
    if day is not None and not asked.FIRST.date() <= day <= asked.LAST.date():
        raise DataError(
            f"no transactions on {day}: expected a day from {asked.FIRST.year} to {asked.LAST.year}"
        )
    return keep.work.transactions(name, day)


@router.get("/anomalies", responses=_ERRORS)
def anomalies(
    keep: Keep,
    stream: Annotated[str | None, Query(max_length=64)] = None,
    status: Status | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Rows:
    """Anomalies, the latest start first."""
    return keep.work.anomalies(stream, limit=limit, status=status)


@router.get("/anomalies/{identifier}", responses=_ERRORS)
def anomaly(identifier: asked.Id, keep: Keep) -> dict[str, Any]:
    """One anomaly: in words, what was sent about it, what was like it."""
    return keep.work.anomaly(identifier)


@router.get("/anomalies/{identifier}/answers", responses=_ERRORS)
def answers(identifier: asked.Id, keep: Keep) -> Rows:
    """What people said of it, oldest first."""
    return keep.work.answers(identifier)


@router.post("/anomalies/{identifier}/answers", responses=_ERRORS | {403: _ERRORS[401]})
def answer(
    identifier: asked.Id, said: Said, keep: Keep, person: Annotated[Person, Depends(answering)]
) -> dict[str, Any]:
    """Answer; the same answer again changes nothing."""
    return keep.work.answer(identifier, said.what, who=person.name, why=said.why, until=said.until)
