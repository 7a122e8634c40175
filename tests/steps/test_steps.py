"""The steps together, on a small plant with one known fault: from CSV to a delivered alert."""

import json
from datetime import timedelta

import pytest

from pipeline.errors import BundleError, ConfigError, DataError, NoChampion, NotEnoughData
from pipeline.learning import held_out_error, judge_again, learn
from pipeline.scoring import Scorer
from pipeline.steps import Offbeat
from pipeline.steps.ingest import ingest
from pipeline.steps.score import champion
from tests.steps import kit


def alerts(home):
    path = home.alerts / "plant.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_fault_becomes_one_alert_and_one_resolve(home):
    kit.feed(home, "later.csv", kit.plant(2 * kit.DAY, 600))
    found = kit.judge_all(home)
    assert (found["opened"], found["closed"]) == (1, 1)
    sent = Offbeat.open(home).deliver()
    assert (sent["sent"], sent["failed"], sent["dead"]) == (2, 0, 0)
    firing, resolved = alerts(home)
    assert [firing["event"], resolved["event"]] == ["firing", "resolved"]
    about = firing["anomaly"]
    assert about["entity"] == "b"
    assert about["channels"][0]["channel"] == "flow"
    assert about["channels"][0]["actual"] == pytest.approx(20)
    assert about["channels"][0]["expected"] > 60
    assert "flow" in firing["title"]
    assert "20" in firing["title"]


def test_running_everything_again_changes_nothing(home):
    kit.feed(home, "later.csv", kit.plant(2 * kit.DAY, 600))
    kit.judge_all(home)
    Offbeat.open(home).deliver()
    before, told = kit.scores(home), alerts(home)
    again = kit.judge_all(home)
    assert (again["opened"], again["continued"], again["closed"], again["alerts"]) == (0, 0, 0, 0)
    assert Offbeat.open(home).deliver()["sent"] == 0
    assert kit.scores(home) == before
    assert alerts(home) == told


def test_an_anomaly_that_goes_on_in_the_next_run_is_the_same_anomaly(home):
    middle = 2 * kit.DAY + 330  # minutes: the fault is under way
    kit.feed(home, "one.csv", kit.plant(2 * kit.DAY, 330))
    first = kit.judge_all(home)
    assert (first["opened"], first["closed"]) == (1, 0)
    [seen] = Offbeat.open(home).anomalies("plant")
    assert seen["status"] == "open"
    kit.feed(home, "two.csv", kit.plant(middle, 15))
    second = kit.judge_all(home)
    assert (second["opened"], second["continued"]) == (0, 1)
    kit.feed(home, "three.csv", kit.plant(middle + 15, 255))
    third = kit.judge_all(home)
    assert (third["opened"], third["closed"]) == (0, 1)
    [after] = Offbeat.open(home).anomalies("plant")
    assert after["id"] == seen["id"]
    assert after["start"] == seen["start"]
    assert Offbeat.open(home).deliver()["sent"] == 2


def test_scoring_as_records_come_equals_scoring_at_once(home, tmp_path):
    rows = kit.plant(2 * kit.DAY, 600)
    rows.sort()
    for number, begin in enumerate(range(0, len(rows), 173)):
        kit.feed(home, f"{number:03}.csv", rows[begin : begin + 173])
        kit.judge_all(home)
    piecewise = kit.scores(home)
    work = Offbeat.open(home)
    work.score("plant", start=kit.TRAINED, end=kit.TRAINED + timedelta(days=1))
    assert kit.scores(home) == piecewise  # nothing changed: what is the same is not written again
    assert len(piecewise) > 1100
    assert len(work.anomalies("plant")) == 1


def test_a_late_record_changes_the_scores_it_touches(home):
    rows = [row for row in kit.plant(2 * kit.DAY, 100) if row[1] == "a"]
    late = rows.pop(95)  # four minutes behind the newest
    kit.feed(home, "one.csv", rows)
    kit.judge_all(home)
    before = {row["time"]: row["score"] for row in kit.scores(home)}
    kit.feed(home, "two.csv", [late])
    kit.judge_all(home)
    after = {row["time"]: row["score"] for row in kit.scores(home)}
    assert any(after[when] != score for when, score in before.items())
    work = Offbeat.open(home)
    work.score("plant", start=kit.TRAINED, end=kit.TRAINED + timedelta(days=1))
    assert {row["time"]: row["score"] for row in kit.scores(home)} == after


def test_a_backfill_records_and_alerts_nobody(home):
    kit.feed(home, "later.csv", kit.plant(2 * kit.DAY, 600))
    work = Offbeat.open(home)
    work.ingest("plant")
    found = work.score_all("plant", start=kit.TRAINED, end=kit.TRAINED + timedelta(days=1), silent=True)
    assert found["rows"] > 1000
    assert found["alerts"] == 0
    assert work.deliver()["sent"] == 0


def test_a_backfill_after_the_live_run_changes_nothing(home):
    kit.feed(home, "later.csv", kit.plant(2 * kit.DAY, 600))
    kit.judge_all(home)
    work = Offbeat.open(home)
    before, known = kit.scores(home), work.anomalies("plant")
    for hour in range(10):
        start = kit.TRAINED + timedelta(hours=hour)
        work.score_all("plant", start=start, end=start + timedelta(hours=1), silent=True)
    assert kit.scores(home) == before
    assert work.anomalies("plant") == known


def test_shards_score_what_one_task_would(home):
    kit.feed(home, "later.csv", kit.plant(2 * kit.DAY, 600))
    kit.judge_all(home)
    whole = kit.scores(home)
    yaml = home.configs / "streams" / "plant.yaml"
    yaml.write_text(yaml.read_text() + "shards: 3\n")
    work = Offbeat.open(home)
    plan = work.plan("plant")
    assert [each["shard"] for each in plan] == [0, 1, 2]
    assert sum(work.score("plant", **each)["rows"] for each in plan) == len(whole)
    assert kit.scores(home) == whole


def test_scoring_without_a_model_says_what_to_do(tmp_path):
    home = kit.project(tmp_path, plant=kit.PLANT)
    kit.feed(home, "one.csv", kit.plant(0, 30))
    work = Offbeat.open(home)
    work.ingest("plant")
    with pytest.raises(NoChampion, match="offbeat train plant"):
        work.plan("plant")


def test_training_on_too_little_says_so(tmp_path):
    home = kit.project(tmp_path, plant=kit.PLANT)
    kit.feed(home, "none.csv", [])
    work = Offbeat.open(home)
    with pytest.raises(NotEnoughData, match="offbeat ingest plant"):
        work.train("plant")
    kit.feed(home, "one.csv", kit.plant(0, 60))
    work.ingest("plant")
    with pytest.raises(NotEnoughData):
        work.train("plant")


def test_a_broken_stream_is_disabled_alone(tmp_path):
    home = kit.project(tmp_path, plant=kit.PLANT, wrong="kind: sensr\n")
    kit.feed(home, "one.csv", [])
    work = Offbeat.open(home)
    assert work.ingest("plant")["received"] == 0
    with pytest.raises(ConfigError, match=r"wrong\.yaml:1"):
        work.ingest("wrong")
    with pytest.raises(ConfigError, match="did you mean plant"):
        work.ingest("plnt")


def test_rejects_can_be_replayed_once_the_config_is_mended(tmp_path):
    limited = kit.PLANT.replace("name: flow, unit: m3/h", "name: flow, unit: m3/h, max: 90")
    home = kit.project(tmp_path, plant=limited)
    kit.feed(home, "one.csv", kit.plant(0, 200))
    work = Offbeat.open(home)
    first = work.ingest("plant")
    assert first["rejected"] > 50
    assert first["received"] == first["stored"] + first["duplicate"] + first["rejected"] == 400
    assert "90" in work.rejects("plant", limit=1)[0]["reason"]
    (home.configs / "streams" / "plant.yaml").write_text(kit.PLANT)
    mended = Offbeat.open(home)
    assert mended.reread("plant")["passed"] == first["rejected"]
    assert mended.rejects("plant") == []
    assert mended.status()[0]["stored"] == 400


def only(rows, pump):
    return [row for row in rows if row[1] == pump]


def test_a_machine_that_falls_silent_in_a_fault_is_not_back_to_normal(home):
    rows = kit.plant(2 * kit.DAY, 600)
    silent_from = (kit.FAULT[0] + timedelta(minutes=30)).isoformat()
    kit.feed(home, "later.csv", [row for row in rows if row[1] == "a" or row[0] < silent_from])
    assert kit.judge_all(home)["closed"] == 0
    [still] = Offbeat.open(home).anomalies("plant")
    assert (still["entity"], still["status"]) == ("b", "open")
    kit.feed(home, "more.csv", [row for row in only(rows, "b") if row[0] >= silent_from])
    assert kit.judge_all(home)["closed"] == 1
    assert len(Offbeat.open(home).anomalies("plant")) == 1


def test_a_machine_that_lags_behind_the_others_is_scored_when_it_comes(home):
    rows = kit.plant(2 * kit.DAY, 600)
    kit.feed(home, "a.csv", only(rows, "a"))
    assert kit.judge_all(home)["opened"] == 0
    kit.feed(home, "b.csv", only(rows, "b"))
    found = kit.judge_all(home)
    assert (found["opened"], found["closed"]) == (1, 1)
    at_once = {(row["entity"], row["time"]): row["score"] for row in kit.scores(home)}
    assert len(at_once) > 1100


def test_a_machine_that_falls_behind_and_catches_up_has_the_scores_of_one_that_never_did(home):
    rows = kit.plant(2 * kit.DAY, 600)
    behind = (kit.TRAINED + timedelta(minutes=98)).isoformat()  # in the middle of a window
    kit.feed(home, "one.csv", [row for row in rows if row[1] == "a" or row[0] < behind])
    kit.judge_all(home)
    kit.feed(home, "two.csv", [row for row in only(rows, "b") if row[0] >= behind])
    kit.judge_all(home)
    caught_up, work = kit.scores(home), Offbeat.open(home)
    again = work.score("plant", start=kit.TRAINED, end=kit.TRAINED + timedelta(days=1))
    assert again["rows"] > 1100
    assert (again["added"], again["changed"]) == (0, 0)
    assert kit.scores(home) == caught_up


def test_what_came_before_a_new_champion_is_scored_by_it(home, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    fresh = kit.trained(tmp_path / "fresh")
    kit.feed(fresh, "one.csv", kit.plant(2 * kit.DAY, 100))
    kit.judge_all(fresh)
    kit.feed(fresh, "two.csv", kit.plant(2 * kit.DAY + 100, 500))
    yaml = fresh.configs / "streams" / "plant.yaml"
    yaml.write_text(yaml.read_text().replace("length: 16", "length: 12"))
    work = Offbeat.open(fresh)
    work.ingest("plant")
    with pytest.raises(BundleError, match="train the stream again"):
        work.score_all("plant")
    again = work.train("plant")
    assert again["promoted"]
    assert "champion 1 cannot be judged any more" in again["reason"]
    assert work.score_all("plant")["opened"] == 1


def test_the_gate_finds_a_version_no_better_than_itself(home):
    work = Offbeat.open(home)
    stream = work.stream("plant")
    best = champion(work, stream)
    history = work.observations(stream).read(None, None)
    learned = learn(stream, history, home.root / "again")
    mine = held_out_error(learned.held_out, learned.since)
    assert judge_again(Scorer.of(best.bundle, stream), history, learned.since) == pytest.approx(mine)


def test_a_range_that_ends_before_it_begins_is_refused(home):
    with pytest.raises(DataError, match="the end comes first"):
        Offbeat.open(home).plan("plant", start=kit.TRAINED, end=kit.START)


def test_a_backfill_before_any_live_run_records_what_it_finds(home):
    kit.feed(home, "later.csv", kit.plant(2 * kit.DAY, 600))
    work = Offbeat.open(home)
    work.ingest("plant")
    found = work.score_all("plant", start=kit.TRAINED)
    assert (found["opened"], found["alerts"]) == (1, 0)


def test_an_ingest_that_takes_too_long_leaves_the_rest_to_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.steps.ingest.BATCH_ROWS", 50)
    home = kit.project(tmp_path, plant=kit.PLANT)
    kit.feed(home, "one.csv", kit.plant(0, 60))
    work = Offbeat.open(home)
    told = ingest(work, "plant", longest=0)
    assert (told["stored"], told["batches"], told["more"]) == (50, 1, True)
    told = ingest(work, "plant")
    assert (told["stored"], told["batches"], told["more"]) == (70, 2, False)
