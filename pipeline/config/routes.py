"""Who is told of what, when and how often: the routes of configs/alerts.yaml as frozen, strict models."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from pipeline.config.hours import Hours
from pipeline.config.scalars import Duration, Name, Positive, Strict, at

Severity = Literal["low", "medium", "high", "critical"]
Kind = Literal["reconstruction", "silence", "late", "flatline", "range", "precision", "failure"]
Label = Annotated[str, Field(min_length=1, max_length=64)]
Labels = dict[Name, Label]
OWN_LABELS = ("stream", "entity", "kind")
"""Labels that every anomaly has; a stream cannot say them."""


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Pattern = Annotated[str, Field(min_length=1, max_length=256)]
Kinds = Annotated[
    tuple[Kind, ...],
    BeforeValidator(_several),
    Field(min_length=1),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": list(get_args(Kind))},
                {"type": "array", "items": {"enum": list(get_args(Kind))}, "minItems": 1},
            ]
        }
    ),
]


class Match(Strict):
    """Which anomalies; all that is said must hold. Patterns are globs: `pump-*`, `line-[ab]`."""

    stream: Pattern = "*"
    """Pattern of the stream's name."""
    entity: Pattern = "*"
    """Pattern of the entity's name."""
    severity: Severity = "low"
    """At least so severe."""
    kind: Kinds | None = None
    """What found it, one or several: reconstruction, silence, late, flatline, range, precision, failure."""
    labels: dict[Name, Pattern] = Field(default_factory=dict)
    """Patterns of the labels that the stream, or the entity, has."""
    at: Hours | None = None
    """Times of the week at which it was found: `mon-fri 07:00-19:00`."""


class Group(Strict):
    """One incident for many anomalies, instead of an alert for each."""

    by: tuple[Name, ...] = Field(min_length=1)
    """Labels that all of an incident have in common; `stream`, `entity` and `kind` are labels too."""
    wait: Duration = timedelta(seconds=30)
    """How long to wait for others before people are told of the first."""
    interval: Positive = timedelta(minutes=5)
    """At most once so often people are told that an incident has grown, or is over."""


class Escalation(Strict):
    """Who else is told when nobody answers."""

    after: Positive
    """So long after the first alert."""
    to: tuple[Name, ...] = Field(min_length=1)
    """Receivers."""


class Quiet(Strict):
    """Times at which what is not severe enough waits; what is over when they end is not told."""

    hours: Hours
    """Times of the week: `22:00-06:00`, `sat, sun`."""
    below: Severity = "critical"
    """What is less severe waits."""


class Route(Strict):
    """Who is told of what. What a route leaves out, it has from the one above it."""

    match: Match = Match()
    """Which anomalies; all where it is left out."""
    to: tuple[Name, ...] | None = None
    """Receivers; `[]` tells nobody."""
    also: bool = Field(default=False, alias="continue")
    """Go on to the routes after this one, instead of ending here."""
    group: Group | None = None
    """Make one incident of many anomalies."""
    repeat: Positive | None = None
    """Tell again so often, as long as it is open and nobody has answered."""
    escalate: tuple[Escalation, ...] = ()
    """Whom to tell besides when nobody answers."""
    quiet: Quiet | None = None
    """When less severe ones wait."""
    routes: tuple[Route, ...] = ()
    """Routes below this one, for what it matches; the first that matches wins."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        for i, (one, next_one) in enumerate(zip(self.escalate, self.escalate[1:], strict=False)):
            if next_one.after <= one.after:
                raise at("escalate", i + 1, "after", problem="not after the step before it")
        return self


class Inhibit(Strict):
    """What need not be told while something else is open: a plant that is down mutes its sensors."""

    when: Match
    """What mutes others while it is open."""
    mutes: Match
    """What is muted meanwhile; what still goes on afterwards is told then."""
    equal: tuple[Name, ...] = ()
    """Labels that must be the same in both; `stream`, `entity` and `kind` are labels too."""
