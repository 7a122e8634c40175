"""The watch step over real stores: machines fall silent and come back, channels freeze, sources are late."""

import pytest

from pipeline import clock
from pipeline.events import Context, Event
from pipeline.steps import Offbeat
from pipeline.steps.score import FLAGGED
from pipeline.store import anomalies
from pipeline.store.leases import set_cursor
from tests.steps import kit
from tests.steps.watch_kit import PLANT, Plant, counts, recorded, rows

DAY = kit.DAY


@pytest.fixture
def plant(tmp_path):
    """A plant with two days of history that was looked at."""
    made = Plant(tmp_path)
    made.feed(rows(0, 2 * DAY))
    assert made.watch(2 * DAY)["opened"] == 0
    return made


def test_a_machine_that_falls_silent_is_told_once_and_when_it_sends_again(plant):
    now = 2 * DAY
    plant.feed(rows(now, 30), rows(now + 30, 4, "a"))
    assert counts(plant.watch(now + 34)) == (0, 0, 0), "four minutes are nothing"
    plant.feed(rows(now + 34, 20, "a"))
    assert counts(plant.watch(now + 54)) == (1, 0, 1)
    assert counts(plant.watch(now + 54)) == (0, 0, 0)
    plant.feed(rows(now + 54, 60, "a"))
    assert counts(plant.watch(now + 114)) == (0, 0, 0)
    plant.feed(rows(now + 114, 5))
    assert counts(plant.watch(now + 119)) == (0, 1, 1)
    assert plant.found() == [("silence", "b", "closed")]
    assert plant.titles() == [
        "plant: b has sent nothing since 00:29 UTC for 24 min; it usually sends every 60 s — high",
        "plant: b sends again since 01:54 UTC, after 1 h 25 min — resolved",
    ]


def test_an_alert_says_who_answers_for_the_stream_and_what_to_do(plant):
    plant.feed(rows(2 * DAY, 60, "a"))
    plant.watch(2 * DAY + 60)
    (alert,) = plant.told()
    assert (alert["owner"], alert["description"]) == ("Plant engineering", "Look at the valve.")
    assert alert["anomaly"]["kind"] == "silence"
    for line in (
        "Owner          Plant engineering",
        "About          Look at the valve.",
        "watch: {silence: 6h}",
    ):
        assert line in alert["text"], line
    assert "threshold" not in alert["text"]


def test_a_source_that_stops_is_one_alert_and_not_one_for_each_machine(tmp_path):
    plant = Plant(tmp_path, PLANT + "watch: {late: 30m}\n")
    plant.feed(rows(0, DAY))
    plant.watch(DAY)
    assert counts(plant.watch(DAY + 20)) == (0, 0, 0)
    assert counts(plant.watch(DAY + 45)) == (1, 0, 1)
    assert counts(plant.watch(DAY + 300)) == (0, 0, 0)
    plant.feed(rows(DAY + 300, 10))
    assert counts(plant.watch(DAY + 310)) == (0, 1, 1)
    assert plant.found() == [("late", "plant", "closed")]
    assert plant.titles()[0] == "plant: no new records since 2026-03-01 23:59 UTC for 46 min — high"


def test_late_is_learned_from_how_late_records_usually_come(plant):
    now = 2 * DAY
    for minute in range(0, 150, 5):
        plant.feed(rows(now + minute, 5))
        assert counts(plant.watch(now + minute + 5)) == (0, 0, 0)
    for minute in (155, 160):
        assert counts(plant.watch(now + minute)) == (0, 0, 0)
    assert counts(plant.watch(now + 163)) == (1, 0, 1)
    assert "; the newest is usually at most 6 min old" in plant.titles()[0]


def test_history_read_for_the_first_time_raises_nothing_whatever_the_clock_says(tmp_path):
    plant = Plant(tmp_path)
    plant.feed(rows(0, 60, "gone"), rows(0, 3 * DAY, "a"), rows(0, DAY, "b"))
    for minute in (3 * DAY, 400 * DAY, 400 * DAY + 5):
        assert counts(plant.watch(minute)) == (0, 0, 0)


def test_old_records_that_come_later_raise_nothing(plant):
    now = 2 * DAY
    early = [[row[0].replace("2026-03", "2025-11"), "old", "1.0", row[3]] for row in rows(0, 600, "a")]
    plant.feed(rows(now, 10), early)
    assert counts(plant.watch(now + 10)) == (0, 0, 0)


def test_what_was_over_long_before_it_came_is_recorded_and_nobody_is_told(plant):
    now = 2 * DAY
    plant.feed(rows(now, 30, "b"), rows(now + 200, 3 * DAY, "b"), rows(now, 200 + 3 * DAY, "a"))
    assert counts(plant.watch(now + 3 * DAY + 200)) == (0, 0, 0)
    known = Offbeat.open(plant.home).anomalies("plant")
    assert {(a["kind"], a["entity"], a["status"], a["silent"]) for a in known} == {
        ("silence", "b", "closed", True),
        ("flatline", "b", "closed", True),  # the fault of the plant: its flow stands at 20
    }
    assert plant.told() == []


def test_a_channel_that_freezes_is_told_and_a_constant_is_not(plant):
    now = 2 * DAY
    plant.feed(rows(now, 60, "a", flow="77.7"), rows(now, 60, "b"))
    assert counts(plant.watch(now + 60)) == (1, 0, 1)
    plant.feed(rows(now + 60, 10))
    assert counts(plant.watch(now + 70)) == (0, 1, 1)
    firing, resolved = plant.titles()
    assert firing.startswith("plant: a flow has been exactly 77.7 m3/h since 00:00 UTC for 59 min")
    assert resolved == "plant: a flow moves again since 01:00 UTC, after 1 h — resolved"


def test_a_reading_outside_the_limits_is_told_with_the_limit(tmp_path):
    plant = Plant(tmp_path, PLANT.replace("name: flow,", "name: flow, high: 200, low: 1,"))
    plant.feed(rows(0, DAY))
    plant.watch(DAY)
    plant.feed(rows(DAY, 20), rows(DAY + 20, 1, "a", flow="260"), rows(DAY + 20, 1, "b"), rows(DAY + 21, 5))
    assert counts(plant.watch(DAY + 26)) == (1, 0, 1)
    plant.feed(rows(DAY + 26, 20))
    assert counts(plant.watch(DAY + 46)) == (0, 1, 1)
    assert plant.titles() == [
        "plant: a flow 260 m3/h, above its limit of 200, at 00:20 UTC — high",
        "plant: a flow within its limits again after 00:20 UTC — resolved",
    ]


def model_found(plant, entity, minute, *, flagged):
    """Record what a model would have: an anomaly of `entity` that goes on."""
    work, when = Offbeat.open(plant.home), kit.START + minute * kit.MINUTE
    event = Event(entity, when, when + 5 * kit.MINUTE, when, 3.0, "high", (), True)
    anomalies.record(
        work.database, "plant", [event], now=when, receivers=("log",), context=Context(merge=10 * kit.MINUTE)
    )
    set_cursor(work.database, "plant", FLAGGED, {"batch": flagged, "until": when.isoformat()})


def test_what_the_model_found_ends_when_its_machine_falls_silent(plant):
    now = 2 * DAY
    plant.feed(rows(now, 30), rows(now + 30, 30, "a"))
    model_found(plant, "b", now + 20, flagged=1)
    assert counts(plant.watch(now + 60)) == (1, 0, 1), "its last records are not flagged yet"
    model_found(plant, "b", now + 20, flagged=2)
    assert counts(plant.watch(now + 60)) == (0, 1, 1)
    assert set(plant.found()) == {("silence", "b", "open"), ("reconstruction", "b", "closed")}
    assert plant.titles()[-1] == "plant: b: nothing more is known, it has fallen silent — ended"
    assert counts(plant.watch(now + 61)) == (0, 0, 0)


def test_what_the_model_found_of_others_goes_on(plant):
    now = 2 * DAY
    plant.feed(rows(now, 30), rows(now + 30, 30, "a"))
    model_found(plant, "a", now + 20, flagged=2)
    plant.watch(now + 60)
    assert ("reconstruction", "a", "open") in plant.found()


def test_what_the_model_found_in_a_stream_of_one_machine_ends_when_it_is_late(tmp_path):
    plant = Plant(tmp_path, PLANT.replace("  entity: pump\n", "") + "watch: {late: 30m}\n")
    plant.feed(rows(0, DAY, "a"))
    plant.watch(DAY)
    model_found(plant, "plant", DAY - 10, flagged=1)
    assert counts(plant.watch(DAY + 45)) == (1, 1, 2)
    assert set(plant.found()) == {("late", "plant", "open"), ("reconstruction", "plant", "closed")}


def test_what_is_switched_off_ends(plant):
    now = 2 * DAY
    plant.feed(rows(now, 60, "a"))
    plant.watch(now + 60)
    yaml = plant.home.configs / "streams" / "plant.yaml"
    yaml.write_text(yaml.read_text() + "watch: {silence: never, late: never, flatline: never}\n")
    assert counts(plant.watch(now + 60)) == (0, 1, 1)
    assert plant.titles()[-1] == "plant: b: not watched any more — ended"


def test_a_machine_that_never_comes_back_is_taken_to_be_gone(tmp_path):
    plant = Plant(tmp_path, PLANT + "training: {history: 2d}\n")
    plant.feed(rows(0, DAY))
    plant.watch(DAY)
    plant.feed(rows(DAY, 60, "a"))
    assert counts(plant.watch(DAY + 60)) == (1, 0, 1)
    plant.feed(rows(DAY + 60, 2 * DAY, "a"))
    assert counts(plant.watch(3 * DAY + 60)) == (0, 1, 1)
    assert "b is taken to be gone" in plant.titles()[-1]
    plant.feed(rows(3 * DAY + 60, 60, "a"))
    assert counts(plant.watch(3 * DAY + 120)) == (0, 0, 0)


def test_silence_goes_on_over_many_looks_as_over_one(tmp_path):
    whole, pieces = Plant(tmp_path / "whole"), Plant(tmp_path / "pieces")
    now = 2 * DAY
    parts = [rows(now, 30), rows(now + 30, 90, "a"), rows(now + 120, 60)]
    for each in (whole, pieces):
        each.feed(rows(0, 2 * DAY))
        each.watch(now)
    whole.feed(*parts)
    whole.watch(now + 180)
    every = sorted(row for part in parts for row in part)
    for begin in range(0, len(every), 17):
        pieces.feed(every[begin : begin + 17])
        pieces.watch(now + 180)
    known = recorded(whole, pieces)
    assert known[0] == known[1]
    assert len(known[0]) == 1


def test_pieces_change_nothing(tmp_path, monkeypatch):
    whole, pieces = Plant(tmp_path / "whole"), Plant(tmp_path / "pieces")
    now = 2 * DAY
    for each in (whole, pieces):
        each.feed(rows(0, 2 * DAY))
        each.watch(now)
        each.feed(rows(now, 90), rows(now + 90, 120, "a", flow="55.5"), rows(now + 210, 300))
    whole.watch(now + 510)
    monkeypatch.setattr("pipeline.steps.watch.CELLS", 100)
    pieces.watch(now + 510)
    known = recorded(whole, pieces)
    assert known[0] == known[1]
    assert {kind for _, kind, *_ in known[0]} == {"silence", "flatline"}
    assert whole.titles() == pieces.titles()


CARDS = """
kind: transaction
source: {path: data/cards, settle: 0s}
fields: {id: id, entity: card, amount: amount, unit: EUR, high: 1000}
alert: {merge: 10m}
watch: {late: 2h}
schedules: {ingest: never, train: never, score: never, watch: never}
"""


def test_an_amount_over_its_limit_is_told_and_a_card_that_is_not_used_is_not(tmp_path):
    home = kit.project(tmp_path, cards=CARDS)
    folder = tmp_path / "data" / "cards"
    folder.mkdir(parents=True)
    lines = [f"t{m},{'c1' if m < 100 else 'c2'},{(kit.START + m * kit.MINUTE).isoformat()},{20 + m % 7}"
             for m in range(3000)]  # fmt: skip
    (folder / "one.csv").write_text("id,card,time,amount\n" + "\n".join(lines))
    work = Offbeat.open(home)
    with clock.frozen(kit.START + 3000 * kit.MINUTE):
        work.ingest("cards")
        assert counts(work.watch("cards")) == (0, 0, 0)
    later = kit.START + 3001 * kit.MINUTE
    (folder / "two.csv").write_text(f"id,card,time,amount\nbig,c2,{later.isoformat()},5000\n")
    with clock.frozen(later + kit.MINUTE):
        work.ingest("cards")
        assert counts(work.watch("cards")) == (1, 0, 1)
    (found,) = work.anomalies("cards")
    assert (found["kind"], found["ids"]) == ("range", ["big"])
    assert "card c2: amount 5,000.00 EUR, above its limit of 1,000.00" in found["line"]
    with clock.frozen(later + 200 * kit.MINUTE):
        assert counts(work.watch("cards")) == (1, 0, 1)
    assert {a["kind"] for a in work.anomalies("cards")} == {"range", "late"}


def test_watching_nothing_is_nothing(tmp_path):
    plant = Plant(tmp_path)
    plant.feed([])
    assert counts(plant.watch(0)) == (0, 0, 0)


def test_what_is_usual_is_learned_again_after_a_day_and_not_before(plant, monkeypatch):
    learned = []
    from pipeline.steps import watch_habits

    whole = watch_habits._learn
    monkeypatch.setattr(watch_habits, "_learn", lambda *a: learned.append(a) or whole(*a))
    plant.feed(rows(2 * DAY, 60))
    plant.watch(2 * DAY + 60)
    assert learned == []
    plant.feed(rows(2 * DAY + 60, DAY))
    plant.watch(3 * DAY + 60)
    assert len(learned) == 1
    assert counts(plant.watch(3 * DAY + 61)) == (0, 0, 0)
    assert len(learned) == 1


def test_of_a_long_history_the_latest_part_is_learned_from(plant, monkeypatch):
    from pipeline.steps import watch_habits

    work = Offbeat.open(plant.home)
    stream = work.stream("plant")
    store = work.observations(stream)
    monkeypatch.setattr(watch_habits, "ROWS", 1600)
    habits, begin = watch_habits._learn(stream, store, store.state().watermark)
    minutes = (store.state().watermark - begin) / kit.MINUTE
    assert 500 < minutes <= 800, "of 2,880 minutes of two pumps"
    assert habits.gaps("a").every == 60_000_000
    assert habits.entities["a"].runs.keys() == {"flow", "power"}
