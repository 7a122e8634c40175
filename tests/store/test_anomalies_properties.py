"""Whatever runs do, in whatever order and however often, anomalies and their alerts agree."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pipeline.events import ANSWERS, CLOSING, LATE_RECORDS, VOID, Answer, Context, Contribution, Event
from pipeline.store import anomalies, answers, lifecycle, maintenance
from pipeline.store.database import open_database, outbox, reading
from pipeline.store.outbox import Outbox

START = datetime(2026, 3, 1, tzinfo=UTC)
CONTEXT = Context(merge=timedelta(minutes=5))


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def event(start: int, length: int, peak: float, goes_on: bool, entity: str = "a") -> Event:
    parts = (Contribution("x", 1.0, 0.0, peak),)
    return Event(entity, at(start), at(start + length), at(start), peak, "high", parts, goes_on)


EVENTS = st.builds(
    event, st.integers(0, 100), st.integers(0, 30), st.floats(1, 9), st.booleans(), st.sampled_from("ab")
)


class Runs(RuleBasedStateMachine):
    """Runs of a stream, live and backfilled, interleaved with deliveries that succeed, fail and die."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = open_database("sqlite://")
        self.box = Outbox(self.engine)
        self.minute = 1000.0
        self.got: list[str] = []
        self.last: tuple[list[Event], dict[str, object]] | None = None

    def record(self, seen: list[Event], more: dict[str, object]) -> anomalies.Recorded:
        self.minute += 1
        known = {"now": at(self.minute), "receivers": ("ops",), "context": CONTEXT}
        return anomalies.record(self.engine, "pumps", seen, **(known | more))

    @rule(seen=st.lists(EVENTS, max_size=4), silent=st.booleans(), mark=st.none() | st.integers(0, 150))
    def run(self, seen: list[Event], silent: bool, mark: int | None) -> None:
        self.last = (seen, {"silent": silent, "watermark": None if mark is None else at(mark)})
        self.record(*self.last)
        self.settled()

    def settled(self) -> None:
        """A run whose own events overlap may need itself once more; from then on nothing changes."""
        for _ in range(6):
            done = self.record(*self.last)
            if not (done.opened or done.continued or done.closed):
                return
        raise AssertionError("a run that is repeated never settles")

    @precondition(lambda self: self.last)
    @rule()
    def run_again(self) -> None:
        done = self.record(*self.last)
        assert not (done.opened or done.continued or done.closed or done.alerts)

    @precondition(lambda self: anomalies.list_anomalies(self.engine))
    @rule(which=st.integers(0, 9), what=st.sampled_from(ANSWERS), ahead=st.integers(-1000, 20))
    def say(self, which: int, what: str, ahead: int) -> None:
        """Somebody answers; twice is as good as once."""
        self.minute += 1
        known = anomalies.list_anomalies(self.engine, limit=1000)
        old = known[which % len(known)]
        said = Answer(what, "Ann", at(self.minute), until=at(self.minute + 60) if what == "snoozed" else None)
        for _ in range(2):
            anomalies.answer(self.engine, old.id, said, heard=at(self.minute + ahead), receivers=("ops",))
        self.last = None

    @rule(start=st.integers(-20, 100), length=st.integers(1, 60), name=st.sampled_from("ab*"))
    def plan(self, start: int, length: int, name: str) -> None:
        span = at(start), at(start + length)
        maintenance.add(self.engine, "pumps", [name], *span, who="Ann", why="", now=at(self.minute))
        self.last = None

    @rule(ends=st.sampled_from(["delivered", "failed", "dead", "crash"]))
    def deliver(self, ends: str) -> None:
        self.minute += 10
        for claimed in self.box.claim("ops", now=at(self.minute), limit=1, lease=timedelta(minutes=1)):
            if ends == "delivered":
                self.got.append(claimed.key)
                self.box.delivered(claimed, now=at(self.minute))
            elif ends == "failed":
                self.box.failed(claimed, "HTTP 500", retry_at=at(self.minute + 5))
            elif ends == "dead":
                self.got.append(claimed.key)
                self.box.dead(claimed, "HTTP 404", now=at(self.minute))

    @invariant()
    def alerts_match_the_anomalies(self) -> None:
        with reading(self.engine) as connection:
            keys = list(connection.execute(sa.select(outbox.c.key)).scalars())
        told = Counter((key.split("-")[0], key.split("-")[1]) for key in keys)
        for anomaly in anomalies.list_anomalies(self.engine, limit=1000):
            ends = anomaly.episode - (anomaly.status == "open")
            wanted = (0, 0) if anomaly.silent else (anomaly.episode, ends)
            assert (told[anomaly.id, "firing"], told[anomaly.id, "resolved"]) == wanted
            assert (anomaly.closed_at is None) == (anomaly.status == "open")
            assert not (anomaly.answer in CLOSING and anomaly.status == "open")
            history = answers.history(self.engine, anomaly.id)
            assert anomaly.answer == (
                "" if not history or history[-1].what == "reopened" else history[-1].what
            )

    @invariant()
    def nobody_hears_an_end_before_its_beginning(self) -> None:
        assert len(self.got) == len(set(self.got))
        for name in {key.split("-")[0] for key in self.got}:
            kinds = [key.split("-")[1] for key in self.got if key.startswith(name)]
            assert kinds == (["firing", "resolved"] * len(kinds))[: len(kinds)]

    def teardown(self) -> None:
        self.engine.dispose()


Runs.TestCase.settings = settings(max_examples=30, stateful_step_count=15, deadline=None)
TestRuns = Runs.TestCase


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_parts_of_one_event_seen_in_any_order_make_the_same_anomaly(data):
    middle = 50
    parts = [
        event(start, middle - start + after, peak, goes_on=False)
        for start, after, peak in data.draw(
            st.lists(
                st.tuples(st.integers(0, 50), st.integers(0, 40), st.floats(1, 9)), min_size=1, max_size=6
            )
        )
    ]

    def grown(order: list[Event]) -> tuple[datetime, datetime, datetime, float]:
        now, first = at(500), order[0]
        anomaly = lifecycle.opened("s", first, CONTEXT, now=now, silent=False).anomaly
        for each in [*order, *order]:
            step = lifecycle.joined(anomaly, each, CONTEXT, now=now, silent=False, since=None)
            anomaly = step.anomaly
        return anomaly.start, anomaly.end, anomaly.peak, anomaly.peak_score

    assert grown(parts) == grown(data.draw(st.permutations(parts)))


APART = st.lists(
    st.tuples(st.integers(6, 30), st.integers(0, 20), st.floats(1, 9)), max_size=4
)  # gap before it, which is longer than merging; length; peak


def found(parts: list[tuple[int, int, float]]) -> list[Event]:
    """Return events as detection finds them in one entity's scores: further apart than is merged."""
    events, begin = [], 0
    for gap, length, peak in parts:
        events.append(event(begin + gap, length, peak, goes_on=False))
        begin += gap + length
    return events


@given(before=APART, reviews=st.lists(st.tuples(APART, st.booleans()), min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_after_a_review_what_stands_is_what_was_found_and_a_second_changes_nothing(before, reviews):
    engine = open_database("sqlite://")
    known = {"receivers": ("ops",), "context": CONTEXT}
    anomalies.record(engine, "pumps", found(before), now=at(1000), **known)
    for minute, (parts, silent) in enumerate(reviews, 1001):
        seen = found(parts)
        again = anomalies.Review(LATE_RECORDS, at(-100), None, lambda _: True)
        anomalies.record(engine, "pumps", seen, now=at(minute), silent=silent, review=again, **known)
        everything = anomalies.list_anomalies(engine, limit=1000)
        stands = [a for a in everything if a.ending not in VOID]
        for each in seen:
            assert sum(a.start <= each.start and each.end <= a.end for a in stands) == 1
        for a in stands:
            inside = [e for e in seen if a.start <= e.start and e.end <= a.end]
            assert (a.start, a.end) == (inside[0].start, inside[-1].end)
            assert a.peak_score == max(e.peak_score for e in inside)
        done = anomalies.record(engine, "pumps", seen, now=at(2000), silent=silent, review=again, **known)
        assert not (done.opened or done.continued or done.closed or done.revised or done.alerts)
        assert anomalies.list_anomalies(engine, limit=1000) == everything
    engine.dispose()
