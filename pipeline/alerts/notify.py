"""Who is told of what now: one pure function from what is known to what has to be sent.

In: a ledger (anomalies, incidents, what was sent), the routes, the time. Out: a decision. Nothing is
remembered between two calls, so that one which is killed before its decision is written is simply made again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pipeline.alerts import words
from pipeline.alerts.routing import OVERFLOW, Routes, Rule
from pipeline.events import ACKNOWLEDGED, SEVERITIES, VOID, Anomaly, digest
from pipeline.incidents import Decision, Episode, Incident, Ledger, Member, Notice

FIRST, MORE, REPEAT, ESCALATED, RESOLVED = "firing", "more", "repeat", "escalated", "resolved"
"""Why something is sent: an incident begins, has grown, still goes on, nobody answered, it is over."""
LINES = 10
"""Anomalies of an incident that are told one by one, the worst first; the rest is counted."""
_NAMES = 200


def decide(ledger: Ledger, routes: Routes, now: datetime) -> Decision:
    """Return what has to be sent now, and what is to be remembered of it.

    Args:
        ledger: all that is known.
        routes: the configuration.
        now: the time.
    """
    desk = _Desk(ledger, routes, now)
    for anomaly in sorted((ledger.anomalies[i] for i in ledger.undecided), key=lambda a: (a.start, a.id)):
        desk.take(anomaly)
    for case in desk.ordinary():
        desk.look(case)
    for case in desk.overflows():  # after the others, which fill them
        desk.look(case)
    return desk.decision()


@dataclass
class _Case:
    """An incident under the pen; `incident` is None as long as nobody was told of it."""

    rule: Rule | None
    group: str
    incident: Incident | None = None
    pending: list[Anomaly] = field(default_factory=list)
    changed: bool = False


class _Desk:
    """One decision in the making."""

    def __init__(self, ledger: Ledger, routes: Routes, now: datetime) -> None:
        self.ledger, self.routes, self.now = ledger, routes, now
        self.told = {episode: set(who) for episode, who in ledger.told.items()}
        self.routes_of: dict[Episode, list[str]] = {}
        for route, episode in ledger.seen:
            self.routes_of.setdefault(episode, []).append(route)
        self.recent = Counter(ledger.recent)
        self.alive = [each for each in ledger.alive if routes.may_mute(each)]
        self.waiting: set[str] = set()
        self.notices: list[Notice] = []
        self.cases = {(i.route, i.group): self._opened(i) for i in ledger.incidents}

    def _opened(self, incident: Incident) -> _Case:
        late = [m.anomaly for m in incident.members if not m.told]
        pending = [self.ledger.anomalies[i] for i in late if i in self.ledger.anomalies]
        return _Case(self.routes.rule(incident.route), incident.group, incident, pending)

    def take(self, anomaly: Anomaly) -> None:
        """Put an anomaly to the incidents it belongs to, where people have to be told of it."""
        if anomaly.ending in VOID:  # who was told hears of its end, and nobody else of it at all
            return
        if anomaly.status == "closed" and self._told_by_what_is_gone(anomaly):
            return
        for rule in self.routes.rules(anomaly):
            if (rule.id, _episode(anomaly)) in self.ledger.seen or not rule.to:
                continue
            if rule.plain and _episode(anomaly) in self.ledger.direct:
                continue
            moment = anomaly.closed_at or self.now
            if self.routes.quiet(rule, anomaly, moment) or self.routes.muted(anomaly, self.alive):
                if anomaly.status == "open":
                    self.waiting.add(anomaly.id)
                continue
            self._case(rule, anomaly).pending.append(anomaly)

    def _told_by_what_is_gone(self, anomaly: Anomaly) -> bool:
        """Tell whether people know of it by other routes than there are now, which tell of nothing past."""
        episode = _episode(anomaly)
        known = episode in self.ledger.direct or bool(self.ledger.told.get(episode))
        return known and not any(map(self.routes.rule, self.routes_of.get(episode, ())))

    def _case(self, rule: Rule, anomaly: Anomaly) -> _Case:
        group = digest(*self._common(rule, anomaly).values()) if rule.group else digest(anomaly.id)
        return self.cases.setdefault((rule.id, group), _Case(rule, group))

    def _common(self, rule: Rule, anomaly: Anomaly) -> dict[str, str]:
        labels = self.routes.labels(anomaly)
        return {name: labels.get(name, "") for name in rule.group.by} if rule.group else {}

    def ordinary(self) -> list[_Case]:
        """Return the cases of routes and streams."""
        return [case for (route, _), case in self.cases.items() if not route.startswith(OVERFLOW)]

    def overflows(self) -> list[_Case]:
        """Return the cases that gather what is beyond limits."""
        return [case for (route, _), case in self.cases.items() if route.startswith(OVERFLOW)]

    def look(self, case: _Case) -> None:
        """Decide on one case."""
        rule, incident = case.rule, case.incident
        if rule is None:  # the route is gone: who was told hears of the end, and no more
            case.pending = []
            self._maybe_resolve(case, open_left=self._open(case))
            return
        still = self._open(case)
        if case.pending or self._worse(case, still):
            if self._due(case):
                first = incident is None or incident.first_at is None
                self._tell(case, FIRST if first else MORE, case.pending)
                case.pending = []
            else:
                if not rule.overflow:  # whose members are kept with it
                    self.waiting |= {a.id for a in case.pending}
                return
        elif still and incident is not None and incident.first_at is not None:
            self._remind(case, still)
        self._maybe_resolve(case, self._open(case))

    def _open(self, case: _Case) -> list[Anomaly]:
        """Return its anomalies that people were told of, and that go on."""
        found = []
        for member in case.incident.members if case.incident else ():
            anomaly = self.ledger.anomalies.get(member.anomaly)
            if member.told and anomaly is not None and _goes_on(anomaly, member):
                found.append(anomaly)
        return found

    def _worse(self, case: _Case, still: Sequence[Anomaly]) -> bool:
        """Tell whether an incident of many has become worse than people know."""
        if case.incident is None or not case.rule or not case.rule.group or not still:
            return False
        return _rank(_worst(still)) > SEVERITIES.index(case.incident.severity)

    def _due(self, case: _Case) -> bool:
        assert case.rule is not None
        if case.incident is None:
            return self.now >= min(a.opened_at for a in case.pending) + case.rule.wait
        if case.incident.told_at is None:
            return self.now >= case.incident.opened_at + case.rule.wait
        return self.now >= case.incident.told_at + case.rule.interval

    def _remind(self, case: _Case, still: Sequence[Anomaly]) -> None:
        """Tell again of what nobody has answered, or whose snooze is over; in the end tell others, too."""
        rule, incident, worst = case.rule, case.incident, _worst(still)
        assert rule is not None and incident is not None and incident.first_at and incident.told_at
        if worst.taken(self.now) != incident.acknowledged:
            self._acknowledge(case, incident, worst)
        if worst.taken(self.now) or self.routes.quiet(rule, worst, self.now):
            return
        woken = worst.snoozed_until is not None and incident.told_at < worst.snoozed_until <= self.now
        step = next(iter(rule.escalate[incident.escalated :]), None)
        if step and self.now >= incident.first_at + step.after:
            case.incident = replace(case.incident or incident, escalated=incident.escalated + 1)
            self._tell(case, ESCALATED, (), step.to)
        elif woken or (rule.repeat and self.now >= incident.told_at + rule.repeat):
            self._tell(case, REPEAT, ())

    def _acknowledge(self, case: _Case, incident: Incident, worst: Anomaly) -> None:
        """Note whether somebody has taken it on, and tell those who keep track of that."""
        taken = not incident.acknowledged
        after = {n: key for n, key in incident.told.items() if taken and n in self.routes.tracking}
        key = f"{incident.key}-{ACKNOWLEDGED}-{incident.sent}"
        if after:
            facts = self._facts(case, incident, ACKNOWLEDGED, [])
            self.notices.append(Notice(key, "firing", worst.id, worst.to_json() | facts, after))
        told = {**incident.told, **dict.fromkeys(after, key)}
        case.changed, case.incident = (
            True,
            replace(incident, acknowledged=taken, told=told, sent=incident.sent + bool(after)),
        )

    def _tell(self, case: _Case, why: str, fresh: Sequence[Anomaly], to: Sequence[str] = ()) -> None:
        """Notify; receivers who know already are left out, and those who have had enough are put off."""
        rule, incident = case.rule, case.incident
        assert rule is not None
        everything = [*self._open(case), *fresh]
        worst = _worst([a for a in everything if a.status == "open"] or everything)
        incident = incident or self._begun(rule, case.group, fresh[0])
        receivers = to or dict.fromkeys([*rule.to, *(incident.told if why != FIRST else ())])
        sent: dict[str, str | None] = {}
        for name in receivers:
            news = [a for a in everything if rule.overflow or name not in self.told.get(_episode(a), ())]
            if not news and (fresh or why == ESCALATED):
                continue
            if self._enough(rule, name):
                self._put_off(name, news)
            else:
                sent[name] = incident.told.get(name)
                self.recent[name] += 1
            for anomaly in news:
                self.told.setdefault(_episode(anomaly), set()).add(name)
        key = f"{incident.key}-{why}" + (f"-{incident.sent}" if incident.sent else "")
        new = tuple(Member(*_episode(a)) for a in fresh)
        known = tuple(
            m for m in incident.members if (m.anomaly, m.episode) not in {_episode(a) for a in fresh}
        )
        case.changed, case.incident = (
            True,
            replace(
                incident,
                worst=worst.id,
                severity=max(incident.severity, worst.severity, key=SEVERITIES.index),
                count=incident.count + len(fresh),
                first_at=incident.first_at or self.now,
                told_at=self.now,
                told={**incident.told, **dict.fromkeys(sent, key)},
                sent=incident.sent + 1,
                members=known + new,
            ),
        )
        if sent:
            facts = self._facts(case, case.incident, why, everything)
            self.notices.append(Notice(key, "firing", worst.id, worst.to_json() | facts, sent))

    def _begun(self, rule: Rule, group: str, first: Anomaly) -> Incident:
        episode = _episode(first)
        key = digest(rule.id, group, episode[0], str(episode[1]))
        common = self._common(rule, first) if not rule.overflow else {}
        return Incident(key, rule.id, group, common, first.id, first.severity, 0, self.now)

    def _enough(self, rule: Rule, receiver: str) -> bool:
        limit = self.routes.limits.get(receiver)
        return limit is not None and not rule.overflow and self.recent[receiver] >= limit.count

    def _put_off(self, receiver: str, news: Iterable[Anomaly]) -> None:
        """Leave to a receiver's digest what it would have been told now."""
        rule = self.routes.beyond(receiver)
        case = self.cases.setdefault((rule.id, digest(receiver)), _Case(rule, digest(receiver)))
        for anomaly in news:
            begun = case.incident or self._begun(rule, case.group, anomaly)
            member = Member(*_episode(anomaly), told=False)
            case.incident = replace(begun, members=(*begun.members, member))
            case.pending.append(anomaly)
            case.changed = True

    def _maybe_resolve(self, case: _Case, open_left: Sequence[Anomaly]) -> None:
        """Say that an incident is over, to whoever was told of it, once all of it is."""
        incident = case.incident
        if incident is None or open_left or case.pending:
            return
        if case.rule and incident.told_at and self.now < incident.told_at + case.rule.interval:
            return
        worst = self.ledger.anomalies[incident.worst]
        if incident.told:
            key, facts = f"{incident.key}-resolved", self._facts(case, incident, RESOLVED, [])
            payload = worst.to_json() | facts
            self.notices.append(Notice(key, "resolved", worst.id, payload, dict(incident.told)))
        case.changed, case.incident = True, replace(incident, closed_at=self.now)

    def _facts(
        self, case: _Case, incident: Incident, why: str, everything: Sequence[Anomaly]
    ) -> dict[str, Any]:
        """Return what a notification says of its incident, beside the anomaly that it is known by."""
        ranked = sorted(everything, key=lambda a: (a.status != "open", -_rank(a), -a.peak_score, a.start))
        streams = {a.stream for a in everything} or {self.ledger.anomalies[incident.worst].stream}
        each_once = len({a.entity for a in everything}) == len(everything)
        many = incident.count > 1 or (case.rule is not None and case.rule.overflow)
        return {
            "incident": {
                "key": incident.key,
                "why": why,
                "count": incident.count,
                "open": sum(a.status == "open" for a in everything),
                "labels": dict(incident.labels),
                "since": incident.opened_at.isoformat(),
                "streams": len(streams),
                "noun": self.routes.noun(next(iter(streams))) if len(streams) == 1 and each_once else "",
                "digest": bool(case.rule and case.rule.overflow),
                "lines": [f"{a.stream}: {words.firing(a)}" for a in ranked[:LINES]] if many else [],
                "anomalies": [a.id for a in ranked[:_NAMES]],
            }
        }

    def decision(self) -> Decision:
        """Return what was decided."""
        decided = (a for i, a in self.ledger.anomalies.items() if i in self.ledger.undecided)
        changed = (case.incident for case in self.cases.values() if case.changed and case.incident)
        return Decision(
            tuple(changed), tuple(self.notices), tuple(a for a in decided if a.id not in self.waiting)
        )


def _episode(anomaly: Anomaly) -> Episode:
    return anomaly.id, anomaly.episode


def _goes_on(anomaly: Anomaly, member: Member) -> bool:
    return anomaly.status == "open" and anomaly.episode == member.episode and not anomaly.silent


def _rank(anomaly: Anomaly) -> int:
    return SEVERITIES.index(anomaly.severity)


def _worst(anomalies: Sequence[Anomaly]) -> Anomaly:
    return max(anomalies, key=lambda a: (_rank(a), a.peak_score, a.id))
