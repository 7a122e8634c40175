"""Anomalies whose scores changed: they are what their scores say by now, and say what they were."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline.events import LATE_RECORDS, MERGED, REPLAY, WITHDRAWN, Anomaly, Context, Event
from pipeline.store import anomalies
from pipeline.store.anomalies import Recorded, Review
from pipeline.store.database import outbox, reading
from pipeline.store.outbox import Outbox


@pytest.fixture
def review(record: Callable[..., Recorded], at: Callable[[float], datetime]) -> Callable[..., Recorded]:
    """Record what is found in the first hour and a half, all of which was judged again."""

    def run(*events: Event, why: str = LATE_RECORDS, **more: Any) -> Recorded:
        again = Review(why, at(0), at(90), lambda _: True)
        return record(*events, review=again, **({"now": 700} | more))

    return run


def listed(engine: sa.Engine) -> list[Anomaly]:
    return sorted(anomalies.list_anomalies(engine), key=lambda a: a.start)


def keys(engine: sa.Engine) -> list[str]:
    with reading(engine) as connection:
        found = connection.execute(sa.select(outbox.c.key).order_by(outbox.c.created_at, outbox.c.key))
        return [key.split("-", 1)[1] for key in found.scalars()]


def test_it_shrinks_to_what_its_scores_say_and_keeps_what_it_was(engine, record, review, event, at):
    record(event(0, 30, peak_score=9.0, severity="critical"))
    newer = Context(merge=timedelta(minutes=5), version=4, run="r2")
    done = review(event(10, 20, peak_score=2.0), context=newer)
    [found] = listed(engine)
    assert done.revised == (found.id,)
    assert (found.start, found.end, found.peak_score, found.severity) == (at(10), at(20), 2.0, "high")
    was = found.revised
    assert (was.start, was.end, was.peak_score, was.severity) == (at(0), at(30), 9.0, "critical")
    assert (was.at, was.why) == (at(700), LATE_RECORDS)
    assert (found.version, found.run) == (4, "r2"), "whose scores they are by now"
    assert keys(engine) == ["firing", "resolved"]
    assert not review(event(10, 20, peak_score=2.0), now=800).revised
    assert listed(engine) == [found]


def test_that_it_goes_on_is_no_revision(engine, record, review, event, at):
    record(event(0, 10, goes_on=True))
    done = review(event(0, 20, goes_on=True, peak=at(15), peak_score=5.0))
    assert (done.continued, done.revised) == ((listed(engine)[0].id,), ())
    assert listed(engine)[0].revised is None


def test_what_vanishes_is_withdrawn_and_is_no_anomaly_again_until_it_is_found(engine, record, review, event):
    record(event(0, 10, goes_on=True))
    assert review().closed == (listed(engine)[0].id,)
    assert not review(now=800).closed
    assert keys(engine) == ["firing", "resolved"]
    assert (listed(engine)[0].ending, listed(engine)[0].status) == (WITHDRAWN, "closed")
    review(event(2, 8), now=900)
    [found] = listed(engine)
    assert (found.ending, found.episode, found.end - found.start) == ("", 2, timedelta(minutes=6))
    assert keys(engine)[2:] == ["firing-2", "resolved-2"]
    review(now=1000)
    assert keys(engine)[4:] == ["resolved-2-withdrawn"]


def test_a_new_beginning_is_told_after_what_was_withdrawn(engine, record, review, event, at):
    record(event(0, 10))
    review()
    review(event(0, 10), now=800)
    got, box = [], Outbox(engine)
    for minute in range(900, 910):
        for one in box.claim("ops", now=at(minute), limit=1, lease=timedelta(minutes=1)):
            got.append(one.key.split("-", 1)[1])
            box.delivered(one, now=at(minute))
    assert got == ["firing", "resolved", "resolved-withdrawn", "firing-2", "resolved-2"]


@pytest.mark.parametrize(
    ("goes_on", "told"), [(True, ["firing", "resolved"]), (False, ["firing", "resolved"])]
)
def test_a_silent_replay_takes_back_only_what_is_still_open(engine, record, review, event, goes_on, told):
    record(event(0, 10, goes_on=goes_on))
    review(why=REPLAY, silent=True)
    [found] = listed(engine)
    assert (found.ending, found.revised.why) == (WITHDRAWN, REPLAY)
    assert keys(engine) == told


def test_what_nobody_was_told_of_is_withdrawn_without_a_word(engine, record, review, event):
    record(event(0, 10), silent=True)
    review()
    assert (listed(engine)[0].ending, keys(engine)) == (WITHDRAWN, [])
    review(event(0, 10), silent=True, now=800)
    assert (listed(engine)[0].ending, listed(engine)[0].silent, keys(engine)) == ("", True, [])


def test_what_falls_in_two_stays_one_and_of_what_becomes_one_one_stands(engine, record, review, event, at):
    record(event(0, 30), event(60, 70))
    review(event(0, 5), event(20, 28), event(60, 70))
    assert [(a.start, a.end, a.ending) for a in listed(engine)] == [(at(0), at(28), ""), (at(60), at(70), "")]
    review(event(-2, 70), now=800)
    assert [(a.start, a.end, a.ending) for a in listed(engine)] == [
        (at(-2), at(70), ""),
        (at(0), at(28), MERGED),
    ]
    before = listed(engine)
    assert not review(event(-2, 70), now=900).revised
    assert listed(engine) == before
    assert sorted(keys(engine)) == ["firing", "firing", "resolved", "resolved"]


def test_one_that_moved_away_leaves_its_id_to_itself(engine, record, review, event, at):
    record(event(0, 30))
    review(event(20, 30))
    review(event(0, 5), event(20, 30), now=800)
    first, second = listed(engine)
    assert first.id != second.id
    assert (first.start, second.start) == (at(0), at(20))
    before = listed(engine)
    review(event(0, 5), event(20, 30), now=900)
    assert listed(engine) == before


def test_what_was_not_judged_whole_is_left_alone(engine, record, event, at):
    record(event(0, 10), event(40, 50), event(0, 10, kind="range"))
    before = listed(engine)
    record(review=Review(REPLAY, at(20), None, lambda a: a.start > at(45)), now=700)
    assert listed(engine) == before
    done = record(review=Review(REPLAY, at(20), None, lambda _: True), now=700)
    assert len(done.revised) == 1


def test_a_revision_is_in_the_payload_and_older_payloads_are_read(engine, record, review, event):
    record(event(0, 10, goes_on=True))
    review()
    [found] = listed(engine)
    plain = found.to_json()
    assert Anomaly.from_json(plain) == found
    del plain["revised"]
    assert Anomaly.from_json(plain).revised is None
