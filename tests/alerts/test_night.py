"""A scripted night: an outage of forty pumps, thirty blips, maintenance, and a receiver that is down."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from pipeline import clock
from pipeline.events import Context, Contribution, Event
from pipeline.home import Home
from pipeline.steps import Offbeat
from pipeline.steps.notify import at_once
from pipeline.store import anomalies
from pipeline.store.database import deliveries, outbox, reading
from tests.alerts.conftest import answer

START = datetime(2026, 3, 1, 18, tzinfo=UTC)
TICK = 4
LINES = "abcde"
STREAM = """
kind: sensor
source: {path: data/pumps}
fields:
  entity: pump
  channels: [{name: flow, unit: m3/h}]
entity_labels: {"a-*": {line: a}, "b-*": {line: b}, "c-*": {line: c}, "d-*": {line: d}, "e-*": {line: e}}
alert: {merge: 10m, receivers: [ops]}
"""
ALERTS = """
receivers:
  ops: {{type: webhook, url: "{url}", secret: "${{env:NIGHT_SECRET}}"}}
routes:
  - {{match: {{stream: pumps}}, to: [ops], group: {{by: [line], wait: 2m, interval: 15m}}, repeat: 12h}}
"""


@dataclass(frozen=True)
class Trouble:
    """What goes wrong with one pump, from minute to minute."""

    pump: str
    start: int
    end: int

    def event(self, now: int) -> Event:
        begun = START + timedelta(minutes=self.start)
        seen = START + timedelta(minutes=min(now, self.end))
        part = (Contribution("flow", 1.0, 100.0, 20.0),)
        return Event(self.pump, begun, seen, begun, 4.0, "high", part, now < self.end)


@pytest.fixture
def night():
    dice = random.Random(7)
    outage = [Trouble(f"a-{i:02}", 420 + dice.randrange(25), 600 + dice.randrange(20)) for i in range(40)]
    pumps = [f"{line}-{i:02}" for line in LINES for i in range(40)]
    calm = [pump for pump in pumps if pump[0] in "bcd"]
    blips = [
        Trouble(pump, start := dice.randrange(10, 1300), start + dice.randrange(1, 30))
        for pump in dice.sample(calm, 30)
    ]
    repaired = [Trouble(f"e-{i:02}", 500 + i, 560 + i) for i in range(10)]
    assert len(pumps) == 200
    return outage, blips, repaired


@pytest.fixture
def work(tmp_path, hooks, secret, monkeypatch):
    monkeypatch.setenv("NIGHT_SECRET", secret)
    (tmp_path / "configs" / "streams").mkdir(parents=True)
    (tmp_path / "configs" / "alerts.yaml").write_text(ALERTS.format(url=hooks.url("/ops")))
    (tmp_path / "configs" / "streams" / "pumps.yaml").write_text(STREAM)
    work = Offbeat.open(Home(tmp_path / "home", tmp_path))
    assert not work.project.broken
    return work


def live(work, hooks, troubles, down):
    """Let 24 hours pass: record what begins and ends, decide, deliver; nothing is kept between two ticks."""
    context, stream = Context(merge=timedelta(minutes=10), units={"flow": "m3/h"}), work.stream("pumps")
    for minute in range(0, 24 * 60 + 1, TICK):
        now = START + timedelta(minutes=minute)
        status = 503 if minute in down else 204
        hooks.behave["/ops"] = lambda handler, status=status: answer(handler, status)
        moved = [t for t in troubles if any(minute - TICK < at <= minute for at in (t.start, t.end))]
        with clock.frozen(now):
            if moved:
                seen = [t.event(minute) for t in moved]
                receivers = at_once(work, stream)
                anomalies.record(work.database, "pumps", seen, now=now, receivers=receivers, context=context)
            work.deliver()


def test_a_night_ends_with_nothing_lost_and_nobody_flooded(work, hooks, night):
    outage, blips, repaired = night
    down = range(390, 510)
    with clock.frozen(START):
        window = START + timedelta(minutes=480), START + timedelta(minutes=700)
        work.maintenance("pumps", ["e-*"], *window, who="Ann", why="new seals")
    live(work, hooks, [*outage, *blips, *repaired], down)

    names = {a.id: a.entity for a in anomalies.list_anomalies(work.database, limit=1000)}
    assert len(names) == len(outage) + len(blips) + len(repaired)
    with reading(work.database) as connection:
        states = set(connection.execute(sa.select(deliveries.c.state)).scalars())
        wanted = set(connection.execute(sa.select(outbox.c.key)).scalars())
    assert states == {"delivered"}

    got = {post.key: json.loads(post.body)["data"] for post in hooks.posts}
    assert set(got) == wanted, "every key is one of the outbox, however often it was tried"
    assert max(Counter(post.key for post in hooks.posts).values()) > 1, "the receiver was down"

    told = {names[i] for data in got.values() for i in data["incident"]["anomalies"]}
    assert told == {t.pump for t in (*outage, *blips)}, "0 lost, none of the maintenance"

    by_incident = defaultdict(list)
    for key, data in got.items():
        assert key.startswith(data["incident"]["key"])
        by_incident[data["incident"]["key"]].append(key.removeprefix(data["incident"]["key"] + "-"))
    assert all(whys[0] == "firing" and whys[-1] == "resolved" for whys in by_incident.values())
    assert all(whys.count("resolved") == 1 for whys in by_incident.values())

    of_outage = [data for data in got.values() if data["incident"]["labels"] == {"line": "a"}]
    print(len(got), "notifications,", len(of_outage), "of the outage:", [d["title"] for d in of_outage])
    assert len({data["incident"]["key"] for data in of_outage}) == 1
    assert len(of_outage) <= 8
    assert "40 pumps, line a" in of_outage[-1]["title"]
