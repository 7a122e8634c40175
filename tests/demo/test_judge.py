"""The demo's figures are honest: every fault and every anomaly is counted, once."""

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.demo.judge import judge
from pipeline.events import Anomaly
from pipeline.simulate import Fault, Labels

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR, SLACK = timedelta(hours=1), timedelta(minutes=10)


def fault(entity, hour, ids=()):
    return Fault(entity, "leak", NOON + hour * HOUR, NOON + (hour + 1) * HOUR, ids=ids)


def anomaly(entity, start, end, ids=()):
    begin, stop = NOON + start * HOUR, NOON + end * HOUR
    return Anomaly(
        f"{entity}{start}", "s", entity, begin, stop, begin, 2.0, "medium", "closed", (), ids,
        "reconstruction", None, "sensor", "", 1, None, None, False, 1, begin, begin, stop,
    )  # fmt: skip


def verdict(faults, anomalies):
    labels = Labels("s", NOON, NOON + 100 * HOUR, faults=tuple(faults))
    return judge(labels, anomalies, slack=SLACK)


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [(-2, -1, False), (-1, 0.1, True), (0.5, 3, True), (1.1, 2, True), (1.3, 2, False)],
)
def test_a_fault_is_found_by_what_overlaps_it_or_comes_just_after(start, end, found):
    judged = verdict([fault("a", 0)], [anomaly("a", start, end)])
    assert (len(judged.found), len(judged.missed), len(judged.false_alarms)) == (found, not found, not found)


def test_an_anomaly_of_another_entity_finds_nothing():
    judged = verdict([fault("a", 0)], [anomaly("b", 0, 1)])
    assert (len(judged.missed), len(judged.false_alarms)) == (1, 1)


def test_a_fault_is_found_once_however_many_anomalies_point_at_it():
    judged = verdict([fault("a", 0)], [anomaly("a", 0.5, 0.6), anomaly("a", 0.1, 0.2)])
    assert judged.faults == len(judged.found) == 1
    assert judged.found[0][1].id == "a0.1"
    assert judged.false_alarms == ()


def test_transactions_are_matched_by_id_not_by_time():
    judged = verdict([fault("a", 0, ids=("t1",))], [anomaly("a", 0, 1, ids=("t2",))])
    assert (len(judged.missed), len(judged.false_alarms)) == (1, 1)
    assert verdict([fault("a", 0, ids=("t1",))], [anomaly("a", 5, 6, ids=("t1", "t9"))]).found
