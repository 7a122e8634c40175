"""Who is told of what, when, how often: decided from what is recorded, and never twice."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
import sqlalchemy as sa

from pipeline import clock
from pipeline.config.loader import load_project
from pipeline.errors import DataError, Unavailable
from pipeline.events import Context, Contribution, Event
from pipeline.home import Home
from pipeline.steps import Offbeat
from pipeline.steps import notify as step
from pipeline.steps.notify import at_once, notify
from pipeline.store import anomalies, incidents
from pipeline.store.database import deliveries, outbox, reading
from pipeline.store.outbox import Outbox
from tests.alerts.conftest import START

PUMPS = """
kind: sensor
source: {path: data/pumps}
fields:
  entity: pump
  channels: [{name: flow, unit: m3/h}]
labels: {site: berlin}
entity_labels: {"a-*": {line: a}, "b-*": {line: b}}
alert: {merge: 5m, receivers: [log]}
"""
RECEIVERS = "receivers: {log: {type: log}, ops: {type: log}, boss: {type: log}, mail: {type: log}}\n"
GROUPED = "routes: [{to: [ops], group: {by: [line], wait: 1m, interval: 10m}}]"


@dataclass
class Plant:
    """A stream of pumps whose minutes a test counts from 03:12."""

    root: Home
    seen: int = 0
    going: dict[str, float] = field(default_factory=dict)

    def routes(self, text, receivers=RECEIVERS):
        (self.root.project / "configs" / "alerts.yaml").write_text(receivers + text)
        assert not load_project(self.root.configs).broken
        return self

    @property
    def work(self):
        return Offbeat.open(self.root)

    def at(self, minute):
        return START + timedelta(minutes=minute)

    def fail(self, minute, *pumps, severity="high", kind="reconstruction", score=4.0):
        for pump in pumps:
            self.going.setdefault(pump, minute)
        self._record(minute, pumps, severity, kind, score, open_=True)

    def mend(self, minute, *pumps, severity="high", kind="reconstruction"):
        self._record(minute, pumps, severity, kind, 4.0, open_=False)
        for pump in pumps:
            self.going.pop(pump, None)

    def _record(self, minute, pumps, severity, kind, score, *, open_):
        work, part, now = self.work, (Contribution("flow", 1.0, 100.0, 20.0),), self.at(minute)
        events = [
            Event(p, self.at(self.going[p]), now, now, score, severity, part, open_, (), kind) for p in pumps
        ]
        known = {"now": now, "context": Context(merge=timedelta(minutes=5))}
        receivers = at_once(work, work.stream("pumps"))
        anomalies.record(work.database, "pumps", events, receivers=receivers, **known)

    def told(self, minute):
        """Decide, and return what was put in the outbox since: why, to whom, about how many."""
        with clock.frozen(self.at(minute)):
            notify(self.work)
        query = (
            sa.select(outbox, deliveries.c.receiver)
            .join(deliveries, deliveries.c.key == outbox.c.key)
            .order_by(outbox.c.created_at, outbox.c.event, outbox.c.key, deliveries.c.receiver)
        )
        with reading(self.work.database) as connection:
            rows = connection.execute(query).all()
        new, self.seen = rows[self.seen :], len(rows)
        assert [r.created_at for r in rows] == sorted(r.created_at for r in rows)
        return [self._short(row) for row in new]

    def _short(self, row):
        incident = row.payload.get("incident", {})
        return incident.get("why", row.event), row.receiver, incident.get("count", 1)

    def answer(self, minute, pump, what, until=None):
        (found,) = anomalies.list_anomalies(self.work.database, entity=pump, status="open")
        with clock.frozen(self.at(minute)):
            self.work.answer(found.id, what, who="Ann", until=until and self.at(until))


@pytest.fixture
def plant(tmp_path):
    (tmp_path / "configs" / "streams").mkdir(parents=True)
    (tmp_path / "configs" / "streams" / "pumps.yaml").write_text(PUMPS)
    return Plant(Home(tmp_path / "home", tmp_path)).routes("")


def test_without_routes_each_is_told_in_the_transaction_that_records_it(plant):
    plant.fail(0, "a-1", "b-1")
    with reading(plant.work.database) as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(deliveries)).scalar_one() == 2
    assert plant.told(1) == [("firing", "log", 1)] * 2
    plant.mend(2, "a-1")
    assert plant.told(3) == [("resolved", "log", 1)]
    assert plant.told(999) == []


def test_what_no_route_matches_goes_to_its_streams_receivers(plant):
    plant.routes("routes: [{match: {labels: {line: b}}, to: [ops]}]")
    plant.fail(0, "a-1", "b-1")
    assert sorted(plant.told(0)) == [("firing", "log", 1), ("firing", "ops", 1)]
    plant.mend(5, "a-1", "b-1")
    assert sorted(plant.told(5)) == [("resolved", "log", 1), ("resolved", "ops", 1)]


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ("[{to: [ops]}, {to: [boss]}]", ["ops"]),
        ("[{to: [ops], continue: true}, {to: [boss]}]", ["boss", "ops"]),
        ("[{to: [ops], continue: true}, {to: [ops, boss]}]", ["boss", "ops"]),
        ("[{match: {severity: critical}, to: [boss]}, {to: [ops]}]", ["ops"]),
        ("[{match: {severity: high}, to: [boss]}, {to: [ops]}]", ["boss"]),
        ("[{match: {kind: late}, to: [boss]}, {match: {kind: [late, reconstruction]}, to: [ops]}]", ["ops"]),
        ("[{match: {stream: 'fan*'}, to: [boss]}, {match: {entity: 'a-*'}, to: [ops]}]", ["ops"]),
        ("[{match: {labels: {site: 'b*', line: a}}, to: [ops]}]", ["ops"]),
        ("[{match: {labels: {hall: '?*'}}, to: [ops]}]", ["log"]),
        ("[{to: [ops], routes: [{match: {labels: {line: b}}, to: [boss]}]}]", ["ops"]),
        ("[{to: [ops], routes: [{match: {labels: {line: a}}, to: [boss]}]}]", ["boss"]),
        ("[{match: {entity: 'a-*'}, routes: [{match: {kind: late}, to: [boss]}]}, {to: [ops]}]", ["ops"]),
        ("[{to: []}]", []),
        ("[{match: {at: 'sun 03:00-04:00'}, to: [ops]}]", ["ops"]),
        ("[{match: {at: 'mon-sat'}, to: [ops]}]", ["log"]),
    ],
)
def test_the_first_route_that_matches_wins_unless_it_goes_on(plant, routes, expected):
    plant.routes(f"routes: {routes}")
    plant.fail(0, "a-1")
    told = plant.told(0)
    assert sorted(receiver for _, receiver, _ in told) == expected
    assert plant.told(30) == []
    plant.mend(31, "a-1")
    assert sorted(receiver for _, receiver, _ in plant.told(31)) == expected


def test_times_of_the_week_are_meant_in_the_zone_of_the_file(plant):
    plant.routes("timezone: Asia/Tokyo\nroutes: [{match: {at: '12:00-13:00'}, to: [ops]}]")  # 03:12 UTC
    plant.fail(0, "a-1")
    assert plant.told(0) == [("firing", "ops", 1)]


def test_an_incident_waits_gathers_grows_at_most_once_an_interval_and_ends_once(plant):
    plant.routes(GROUPED)
    plant.fail(0, "a-1", "a-2", "b-1")
    assert plant.told(0) == []
    plant.fail(0.5, "a-3")
    assert sorted(plant.told(1)) == [("firing", "ops", 1), ("firing", "ops", 3)]
    plant.fail(2, "a-4")
    plant.fail(3, "a-5")
    assert plant.told(4) == []
    assert plant.told(11) == [("more", "ops", 5)]
    plant.mend(12, "a-1", "a-2", "a-3", "a-4")
    assert plant.told(12) == []
    plant.mend(13, "a-5")
    assert plant.told(13) == [], "it may go on within the interval"
    assert plant.told(21) == [("resolved", "ops", 5)]
    assert plant.told(99) == []


def test_what_is_over_before_the_wait_is_still_told(plant):
    plant.routes(GROUPED)
    plant.fail(0, "a-1")
    plant.mend(0.2, "a-1")
    assert plant.told(0.5) == []
    assert plant.told(1) == [("firing", "ops", 1)]
    assert plant.told(11) == [("resolved", "ops", 1)]


def test_what_becomes_worse_is_told_to_whom_that_goes(plant):
    plant.routes("routes: [{match: {severity: critical}, to: [boss, ops]}, {to: [ops]}]")
    plant.fail(0, "a-1", severity="medium")
    assert plant.told(0) == [("firing", "ops", 1)]
    plant.fail(1, "a-1", severity="critical", score=9.0)
    assert plant.told(1) == [("firing", "boss", 1)], "ops knows"
    plant.mend(2, "a-1", severity="critical")
    assert sorted(plant.told(2)) == [("resolved", "boss", 1), ("resolved", "ops", 1)]


def test_an_incident_that_becomes_worse_says_so(plant):
    plant.routes(GROUPED)
    plant.fail(0, "a-1", severity="low")
    plant.told(1)
    plant.fail(5, "a-1", severity="critical", score=9.0)
    assert plant.told(6) == []
    assert plant.told(11) == [("more", "ops", 1)]
    assert plant.told(30) == []


def test_what_nobody_answers_is_told_again_and_to_others_until_somebody_does(plant):
    plant.routes(
        "routes: [{to: [ops], repeat: 1h, escalate: [{after: 30m, to: [boss]}, {after: 40m, to: [mail]}]}]"
    )
    plant.fail(0, "a-1")
    assert plant.told(0) == [("firing", "ops", 1)]
    assert plant.told(29) == []
    assert plant.told(30) == [("escalated", "boss", 1)]
    assert plant.told(35) == []
    assert plant.told(40) == [("escalated", "mail", 1)]
    assert sorted(plant.told(100)) == [("repeat", who, 1) for who in ("boss", "mail", "ops")]
    plant.answer(110, "a-1", "acknowledged")
    assert plant.told(500) == []
    plant.mend(501, "a-1")
    assert sorted(plant.told(501)) == [("resolved", who, 1) for who in ("boss", "mail", "ops")]


def test_an_acknowledgement_in_time_escalates_to_nobody(plant):
    plant.routes("routes: [{to: [ops], escalate: [{after: 30m, to: [boss]}]}]")
    plant.fail(0, "a-1")
    plant.told(0)
    plant.answer(10, "a-1", "acknowledged")
    assert plant.told(31) == []
    plant.answer(40, "a-1", "reopened")
    assert plant.told(41) == [("escalated", "boss", 1)]


def test_a_snooze_ends_in_a_reminder(plant):
    plant.routes("routes: [{to: [ops]}]")
    plant.fail(0, "a-1")
    plant.told(0)
    plant.answer(10, "a-1", "snoozed", until=70)
    assert plant.told(69) == []
    assert plant.told(70) == [("repeat", "ops", 1)]
    assert plant.told(200) == []


def test_an_answer_that_closes_resolves(plant):
    plant.routes(GROUPED)
    plant.fail(0, "a-1")
    plant.told(1)
    plant.answer(5, "a-1", "false_alarm")
    assert plant.told(11) == [("resolved", "ops", 1)]


def test_quiet_hours_hold_what_can_wait_and_then_tell_only_what_is_still_open(plant):
    plant.routes("routes: [{to: [ops], quiet: {hours: '00:00-06:00', below: critical}}]")  # it is 03:12
    plant.fail(0, "a-1", "a-2")
    plant.fail(1, "b-1", severity="critical", score=9.0)
    assert plant.told(1) == [("firing", "ops", 1)]
    plant.mend(60, "a-1")
    plant.mend(61, "b-1", severity="critical")
    assert plant.told(100) == [("resolved", "ops", 1)], "of what was told"
    assert plant.told(167) == []
    assert plant.told(168) == [("firing", "ops", 1)], "06:00"
    plant.mend(170, "a-2")
    assert plant.told(170) == [("resolved", "ops", 1)]


LATE = "inhibit: [{when: {kind: late}, mutes: {kind: silence}, equal: [stream]}]"


def test_a_plant_that_is_down_mutes_its_sensors(plant):
    plant.routes(LATE)
    plant.fail(0, "pumps", kind="late")
    plant.fail(1, "a-1", "a-2", "a-3", kind="silence")
    plant.fail(2, "b-1")
    assert sorted(plant.told(2)) == [("firing", "log", 1)] * 2, "the plant, and what is no silence"
    plant.mend(9, "a-1", "a-2", kind="silence")
    plant.mend(9, "pumps", kind="late")
    assert plant.told(10) == [("firing", "log", 1), ("resolved", "log", 1)], "a-3, and the plant"
    assert plant.told(30) == []
    plant.mend(31, "a-3", kind="silence")
    assert plant.told(31) == [("resolved", "log", 1)], "it had gone on, and was told then"


def test_a_maintenance_window_is_told_to_nobody_and_what_outlasts_it_is(plant):
    plant.routes(GROUPED)
    with clock.frozen(plant.at(-10)):
        plant.work.maintenance("pumps", ["a-*"], plant.at(-5), plant.at(60), who="Ann")
    plant.fail(0, "a-1", "a-2")
    plant.mend(20, "a-1")
    assert plant.told(30) == []
    plant.fail(70, "a-2")
    assert plant.told(71) == [("firing", "ops", 1)]


def test_beyond_a_receivers_limit_comes_one_digest_that_is_resolved_too(plant):
    plant.routes("", receivers="receivers: {log: {type: log, limit: 3/hour}}\n")
    plant.fail(0, *(f"a-{i}" for i in range(10)))
    assert plant.told(0) == [("firing", "log", 1)] * 3
    assert plant.told(1) == [("firing", "log", 7)], "one digest for the rest"
    plant.fail(2, "b-1", "b-2")
    assert plant.told(3) == []
    assert plant.told(16) == [("more", "log", 9)]
    plant.mend(17, *(f"a-{i}" for i in range(10)), "b-1", "b-2")
    assert plant.told(17) == [("resolved", "log", 1)] * 3, "they are told as ever"
    assert plant.told(31) == [("resolved", "log", 9)]
    plant.fail(70, "b-3")
    assert plant.told(70) == [("firing", "log", 1)], "an hour later it is as before"


def test_a_limit_that_is_lifted_loses_nothing_that_was_put_off(plant):
    plant.routes("", receivers="receivers: {log: {type: log, limit: 1/hour}}\n")
    plant.fail(0, "a-1", "a-2", "a-3")
    assert plant.told(0) == [("firing", "log", 1)]
    plant.routes("")
    assert plant.told(1) == [("firing", "log", 2)]


def test_a_receiver_that_is_gone_holds_nothing_up(plant):
    both = "receivers: {log: {type: log}, ops: {type: log, limit: 1/hour}}\n"
    plant.routes("routes: [{to: [ops]}]", receivers=both)
    plant.fail(0, "a-1", "a-2")
    assert plant.told(0) == [("firing", "ops", 1)]
    plant.routes("", receivers="receivers: {log: {type: log}}\n")
    assert plant.told(1) == []
    plant.mend(2, "a-1", "a-2")
    told = plant.told(99)
    assert told[0] == ("firing", "log", 1), "of the one that nobody knew of"
    assert sorted(told[1:]) == [("resolved", "log", 1), ("resolved", "ops", 1)]
    with reading(plant.work.database) as connection:
        still = sa.select(sa.func.count()).where(incidents.incidents.c.closed_at.is_(None))
        assert connection.execute(still).scalar_one() == 0


def test_a_route_that_is_edited_tells_nobody_twice_and_resolves_what_it_told(plant):
    plant.routes(GROUPED)
    plant.fail(0, "a-1")
    plant.told(1)
    plant.fail(2, "a-2")
    plant.routes("routes: [{to: [ops], group: {by: [stream]}}]")
    plant.fail(3, "a-1", score=9.0)
    assert plant.told(20) == [("firing", "ops", 2)], "a-2 is new, a-1 is known"
    plant.mend(30, "a-1", "a-2")
    assert sorted(plant.told(40)) == [("resolved", "ops", 1), ("resolved", "ops", 2)]


def test_a_broken_alerts_yaml_loses_nothing(plant):
    path = plant.root.project / "configs" / "alerts.yaml"
    path.write_text("receivers: 3\n")
    plant.fail(0, "a-1")
    assert plant.told(1) == []
    plant.routes(GROUPED)
    assert plant.told(2) == [("firing", "ops", 1)]


def test_what_was_told_before_there_were_routes_is_not_told_again(plant):
    plant.fail(0, "a-1", "a-2")
    plant.told(0)
    plant.routes("routes: [{to: [log, ops], group: {by: [line]}, repeat: 1h}]")
    assert plant.told(100) == []
    plant.mend(101, "a-1", "a-2")
    assert plant.told(110) == [("resolved", "log", 1)] * 2


def test_an_anomaly_that_goes_on_after_its_end_is_told_again(plant):
    plant.routes("routes: [{to: [ops]}]")
    plant.fail(0, "a-1")
    plant.mend(1, "a-1")
    assert plant.told(1) == [("firing", "ops", 1), ("resolved", "ops", 1)]
    plant.fail(4, "a-1")
    plant.going["a-1"] = 0
    assert plant.told(4) == [("firing", "ops", 1)]
    plant.mend(5, "a-1")
    assert plant.told(5) == [("resolved", "ops", 1)]


def test_a_run_that_is_killed_while_it_writes_is_made_again(plant, monkeypatch):
    plant.routes(GROUPED)
    plant.fail(0, "a-1", "a-2", "b-1")
    whole, calls = incidents.enqueue, []

    def dies(connection, notice, *, now):
        whole(connection, notice, now=now)
        calls.append(notice.key)
        raise Unavailable("killed")

    monkeypatch.setattr(incidents, "enqueue", dies)
    with pytest.raises(Unavailable):
        plant.told(1)
    monkeypatch.setattr(incidents, "enqueue", whole)
    assert sorted(plant.told(1)) == [("firing", "ops", 1), ("firing", "ops", 2)]
    with reading(plant.work.database) as connection:
        assert set(calls) < set(connection.execute(sa.select(outbox.c.key)).scalars()), "the same keys"


def test_each_receiver_hears_of_an_incident_in_order(plant):
    plant.routes("routes: [{to: [ops], repeat: 1h}]")
    plant.fail(0, "a-1")
    plant.told(0)
    plant.told(60)
    plant.mend(61, "a-1")
    plant.told(61)
    box, order = Outbox(plant.work.database), []
    now = plant.at(99)
    while due := box.claim("ops", now=now, limit=9, lease=timedelta(1)):
        assert len(due) == 1
        order.append(due[0].key.split("-")[1])
        box.failed(due[0], "HTTP 500", retry_at=now)
        (again,) = box.claim("ops", now=now, limit=9, lease=timedelta(1))
        box.delivered(again, now=now)
    assert order == ["firing", "repeat", "resolved"]


def test_pagerduty_hears_that_somebody_has_taken_it_on(plant):
    pager = 'receivers: {log: {type: log}, pager: {type: pagerduty, key: "${env:PAGER_KEY}"}}\n'
    plant.routes("routes: [{to: [pager, log]}]", receivers=pager)
    plant.fail(0, "a-1")
    assert sorted(plant.told(0)) == [("firing", "log", 1), ("firing", "pager", 1)]
    plant.answer(1, "a-1", "acknowledged")
    assert plant.told(1) == [("acknowledged", "pager", 1)]
    assert plant.told(50) == []


def test_deciding_is_quick_where_nothing_is_new(plant, monkeypatch):
    plant.fail(0, *(f"a-{i}" for i in range(300)))
    plant.told(0)
    monkeypatch.setattr(step, "decide", lambda *_: pytest.fail("there was nothing to decide"))
    assert plant.told(1) == []


def test_a_rehearsal_sends_a_sample_by_the_real_route_and_records_nothing(plant):
    plant.routes(
        "routes: [{to: [ops], repeat: 4h, group: {by: [line]}, escalate: [{after: 30m, to: [boss]}]}]\n",
        receivers="receivers: {log: {type: log}, ops: {type: log, limit: 9/hour}, boss: {type: log}}\n",
    )
    with clock.frozen(plant.at(0)):
        told = plant.work.rehearse("pumps")
    assert [(row["receiver"], row["sent"]) for row in told] == [("ops", "yes"), ("boss", "yes")]
    assert told[0]["when"] == "within 30s, with others of the same line; again every 4h; at most 9/hour"
    assert told[1]["when"] == "after 30m, if nobody answers"
    lines = (plant.root.alerts / "pumps.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["firing", "resolved"] * 2
    assert all("TEST, please ignore" in line for line in lines)
    assert plant.work.anomalies("pumps") == []
    assert plant.told(0) == []


def test_a_rehearsal_says_which_receiver_fails(plant, hooks, secret, monkeypatch):
    monkeypatch.setenv("HOOK_SECRET", secret)
    url = hooks.url("/down", status=500)
    hook = f'hook: {{type: webhook, url: "{url}", secret: "${{env:HOOK_SECRET}}"}}'
    plant.routes("", receivers=f"receivers: {{log: {{type: log}}, {hook}}}\n")
    (row,) = plant.work.rehearse("pumps", receiver="hook")
    assert (row["when"], row["sent"]) == ("never: no route leads there", "no: HTTP 500")
    with pytest.raises(DataError, match="'hok' is no receiver; expected one of log, hook"):
        plant.work.rehearse("pumps", receiver="hok")
