"""Which receivers an anomaly goes to, and under which rules: the routes of alerts.yaml, made flat.

In: an anomaly, the labels of its stream and entity. Out: rules, in the order of the file. Pure, no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from pipeline.config.hours import within
from pipeline.config.models import Stream
from pipeline.config.receivers import Alerts
from pipeline.config.routes import Escalation, Group, Inhibit, Match, Quiet, Route
from pipeline.events import SEVERITIES, Anomaly, digest

OVERFLOW = "limit:"
"""Begins the id of the rule that gathers what is beyond a receiver's limit."""
_FIRST_DIGEST = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Rule:
    """Who is told, and how; a route with what it has from those above it."""

    id: str
    """The same as long as what it matches, whom it tells and what it groups by are the same."""
    to: tuple[str, ...]
    group: Group | None = None
    repeat: timedelta | None = None
    escalate: tuple[Escalation, ...] = ()
    quiet: Quiet | None = None
    plain: bool = False
    """What no route matches: told by itself, at once, to the receivers that its stream names."""

    @property
    def wait(self) -> timedelta:
        """How long the first anomaly waits for others."""
        return self.group.wait if self.group else timedelta(0)

    @property
    def interval(self) -> timedelta:
        """How long at least from one notification about an incident to the next."""
        return self.group.interval if self.group else timedelta(0)

    @property
    def overflow(self) -> bool:
        """Whether it gathers what is beyond a receiver's limit."""
        return self.id.startswith(OVERFLOW)


@dataclass(frozen=True, slots=True)
class _Node:
    """A route, and what is below it."""

    match: Match
    rule: Rule | None
    also: bool
    below: tuple[_Node, ...]


class Routes:
    """The routes of alerts.yaml, over the streams as they are configured now."""

    def __init__(self, alerts: Alerts, streams: Mapping[str, Stream]) -> None:
        self._alerts, self._streams = alerts, streams
        self._tree = tuple(_node(route, Rule("", ()), named=False, path=()) for route in alerts.routes)
        self._by_id = {rule.id: rule for rule in _rules(self._tree)}
        self._by_id |= {rule.id: rule for rule in map(self._plain, streams)}
        self._by_id |= {rule.id: rule for rule in map(self.beyond, alerts.receivers)}
        self.tracking = frozenset(n for n, r in alerts.receivers.items() if r.tracks)
        self.limits = {n: r.limit for n, r in alerts.receivers.items() if r.limit}

    def labels(self, anomaly: Anomaly) -> dict[str, str]:
        """Return the labels of an anomaly: those of its stream and entity, and the three that all have."""
        stream = self._streams.get(anomaly.stream)
        said = stream.labels_of(anomaly.entity) if stream else {}
        return said | {"stream": anomaly.stream, "entity": anomaly.entity, "kind": anomaly.kind}

    def noun(self, stream: str) -> str:
        """Return what an entity of a stream is called: `pump`, `card`."""
        found = self._streams.get(stream)
        name = (found.fields.entity or "") if found else ""
        return name.removesuffix("_id").replace("_", " ")

    def rule(self, name: str) -> Rule | None:
        """Return a rule by its id; None where the file no longer has it."""
        return self._by_id.get(name)

    def rules(self, anomaly: Anomaly) -> list[Rule]:
        """Return the rules for an anomaly: those of the routes that match, else its stream's own."""
        return self._walk(self._tree, anomaly, self.labels(anomaly)) or [self._plain(anomaly.stream)]

    def beyond(self, receiver: str) -> Rule:
        """Return the rule for what is beyond a receiver's limit, or was while it had one."""
        limit = self._alerts.receivers[receiver].limit
        every = max(timedelta(seconds=limit.seconds / 4) if limit else _FIRST_DIGEST, _FIRST_DIGEST)
        group = Group(by=("stream",), wait=_FIRST_DIGEST, interval=every)
        return Rule(f"{OVERFLOW}{receiver}", (receiver,), group)

    def quiet(self, rule: Rule, anomaly: Anomaly, moment: datetime) -> bool:
        """Tell whether an anomaly waits at `moment`, as it is not severe enough for the time of day."""
        quiet = rule.quiet
        return (
            quiet is not None
            and SEVERITIES.index(anomaly.severity) < SEVERITIES.index(quiet.below)
            and within(quiet.hours, moment, self._alerts.timezone)
        )

    def may_mute(self, anomaly: Anomaly) -> bool:
        """Tell whether others are muted while this one is open."""
        labels = self.labels(anomaly)
        return any(self._matches(rule.when, anomaly, labels) for rule in self._alerts.inhibit)

    def muted(self, anomaly: Anomaly, alive: Iterable[Anomaly]) -> bool:
        """Tell whether something else that is open, or was as long as this, makes it not worth telling."""
        return any(self._mutes(rule, anomaly, alive) for rule in self._alerts.inhibit)

    def _mutes(self, rule: Inhibit, anomaly: Anomaly, alive: Iterable[Anomaly]) -> bool:
        labels = self.labels(anomaly)
        # what could mute others is not muted by the same rule: two could silence each other for good
        if not self._matches(rule.mutes, anomaly, labels) or self._matches(rule.when, anomaly, labels):
            return False
        for other in alive:
            if _outlives(other, anomaly):
                theirs = self.labels(other)
                same = all(labels.get(name, "") == theirs.get(name, "") for name in rule.equal)
                if same and self._matches(rule.when, other, theirs):
                    return True
        return False

    def _plain(self, stream: str) -> Rule:
        found = self._streams.get(stream)
        return Rule(f"stream:{stream}", found.alert.receivers if found else (), plain=True)

    def _walk(self, nodes: tuple[_Node, ...], anomaly: Anomaly, labels: Mapping[str, str]) -> list[Rule]:
        found: list[Rule] = []
        for node in nodes:
            if not self._matches(node.match, anomaly, labels):
                continue
            here = self._walk(node.below, anomaly, labels) or ([node.rule] if node.rule else [])
            found += here
            if here and not node.also:
                break
        return found

    def _matches(self, match: Match, anomaly: Anomaly, labels: Mapping[str, str]) -> bool:
        return (
            fnmatchcase(anomaly.stream, match.stream)
            and fnmatchcase(anomaly.entity, match.entity)
            and SEVERITIES.index(anomaly.severity) >= SEVERITIES.index(match.severity)
            and (match.kind is None or anomaly.kind in match.kind)
            and all(fnmatchcase(labels.get(name, ""), glob) for name, glob in match.labels.items())
            and (match.at is None or within(match.at, anomaly.opened_at, self._alerts.timezone))
        )


def _outlives(other: Anomaly, anomaly: Anomaly) -> bool:
    """Tell whether `other` is open; or, where `anomaly` is over, was so when that ended."""
    if other.id == anomaly.id:
        return False
    if anomaly.closed_at is None:
        return other.status == "open"
    return other.opened_at <= anomaly.closed_at and (
        other.closed_at is None or other.closed_at >= anomaly.closed_at
    )


def _node(route: Route, above: Rule, *, named: bool, path: tuple[str, ...]) -> _Node:
    said = route.model_fields_set
    path = (*path, route.match.model_dump_json())
    named = named or route.to is not None
    own = {name: getattr(route, name) for name in ("group", "repeat", "escalate", "quiet") if name in said}
    to = above.to if route.to is None else route.to
    facts = {name: getattr(above, name) for name in ("group", "repeat", "escalate", "quiet")} | own
    by = facts["group"].by if facts["group"] else ()
    rule = Rule(digest(*path, "to", *to, "by", *by), to, **facts)
    below = tuple(_node(each, rule, named=named, path=path) for each in route.routes)
    return _Node(route.match, rule if named else None, route.also, below)


def _rules(nodes: Iterable[_Node]) -> Iterable[Rule]:
    for node in nodes:
        if node.rule:
            yield node.rule
        yield from _rules(node.below)
