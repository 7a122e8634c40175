"""Every row of a table gets a score of its own, in the table's order, whatever the table is like."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipeline.errors import NotEnoughData
from pipeline.oneshot import Ask, detect, rows
from pipeline.oneshot.anomalies import sentence
from pipeline.oneshot.layout import lay_out
from pipeline.oneshot.rows import _filled, judge_rows
from pipeline.oneshot.summary import summary
from pipeline.oneshot.verdict import labels, verdict
from pipeline.scoring import Scorer, score_table
from tests.oneshot import kit

TOP = [f"top{i}_{what}" for i in (1, 2, 3) for what in ("channel", "share", "expected", "actual")]


@pytest.mark.parametrize("name", ["one", "many", "cards"])
def test_every_row_has_a_finite_score_in_the_tables_order(name, request):
    found = request.getfixturevalue(name)
    table, ask, scores = found.table, found.ask, found.scores
    assert scores.num_rows == table.num_rows
    kept = [*(["id"] if ask.id else []), "score", "flag", *(["onset"] if ask.kind == "sensor" else [])]
    assert scores.column_names == ["entity", "time", *kept, *TOP]
    assert scores["time"].equals(table[ask.time])
    assert np.isfinite(scores["score"].to_numpy()).all()
    assert scores["score"].to_numpy()[found.rows.flag].min(initial=1) >= 1
    assert scores["flag"].to_pylist() == found.rows.flag.tolist()
    if ask.entity:
        assert scores["entity"].equals(table[ask.entity])


def test_the_scores_are_those_of_the_one_scoring_path(one):
    again = score_table(one.learned.bundle, one.layout.records, stream=one.stream)
    times = again["time"].cast(pa.int64()).to_numpy()
    mine = one.rows.score[np.searchsorted(one.layout.time, times)]
    assert mine.tolist() == again["score"].to_numpy().tolist()
    assert len(times) > 0.9 * len(one.rows.score)


def test_an_exactly_regular_table_has_a_score_of_its_own_for_each_row(one):
    assert len(np.unique(one.layout.time)) == one.table.num_rows
    assert one.rows.judged.all()


def test_a_faults_onset_is_where_it_begins_and_no_row_after_it(one):
    """While errors still rise, each row is further than any before; what only goes on is none."""
    begins = np.flatnonzero(one.scores["onset"].to_numpy() >= 1)
    assert kit.FAULT.start in begins
    assert (begins >= kit.FAULT.start).sum() < (kit.FAULT.stop - kit.FAULT.start) / 2
    assert begins.max() < kit.FAULT.stop
    assert len(begins) < 0.01 * one.table.num_rows


def test_a_fault_is_found_where_it_is_and_named(one):
    score, far = one.rows.score, np.ones(one.table.num_rows, bool)
    far[kit.FAULT.start - 300 : kit.FAULT.stop + 300] = False
    assert score[kit.FAULT].min() > np.quantile(score[far], 0.99)
    assert one.rows.flag[kit.FAULT].mean() > 0.8
    worst = one.anomalies[0]
    assert kit.FAULT.start - 20 <= worst.first <= worst.peak <= worst.last < kit.FAULT.stop + 70
    assert kit.FAULT.start <= worst.peak < kit.FAULT.stop
    assert worst.channels[0].channel == "flow"
    assert sentence(worst).startswith("flow was 2 where ")
    assert np.mean(one.scores["top1_channel"].to_numpy(zero_copy_only=False)[kit.FAULT] == "flow") > 0.7


def test_contributions_are_in_own_names_and_units(many):
    shown = set(pc.unique(many.scores["top1_channel"]).to_pylist())
    assert kit.STRANGE in shown
    assert shown <= {kit.STRANGE, "entity", "on", "constant", "never", None}
    first = many.scores.filter(pc.equal(many.scores["top1_channel"], "constant"))
    assert set(first["top1_actual"].to_pylist()) <= {7.0, None}


def test_a_machine_that_never_measured_anything_gets_what_is_usual(many):
    silent = pc.equal(many.table["machine"], "c").to_numpy(zero_copy_only=False)
    assert len(set(many.rows.score[silent])) == 1
    assert not many.rows.flag[silent].any()
    assert many.scores["top1_channel"].filter(pa.array(silent)).null_count == 3


def test_rows_of_one_moment_have_one_score(many):
    key = list(zip(many.table["machine"].to_pylist(), many.layout.time.tolist(), strict=True))
    by_cell = {}
    for cell, score in zip(key, many.rows.score, strict=True):
        assert by_cell.setdefault(cell, score) == score
    assert len(by_cell) < len(key)


def test_order_of_rows_changes_no_score(many):
    order = np.argsort(many.rows.score, kind="stable")
    mixed = lay_out(many.table.take(pa.array(order)), many.ask)
    assert mixed.stream == many.stream
    again, _ = judge_rows(mixed, many.learned.bundle)
    assert again.score.tolist() == many.rows.score[order].tolist()


def test_entities_in_batches_score_as_all_at_once(many, monkeypatch):
    monkeypatch.setattr(rows, "BATCH", 100)
    told = []
    again, events = judge_rows(many.layout, many.learned.bundle, lambda done, of: told.append((done, of)))
    assert again.score.tolist() == many.rows.score.tolist()
    assert len(events) == len(many.anomalies)
    assert told == [(600, 1203), (1200, 1203), (1203, 1203)]


def test_a_row_without_a_score_takes_its_neighbours(one):
    score = np.arange(10, dtype=np.float32)
    score[[0, 4, 5, 9]] = np.nan
    layout = replace(one.layout, order=np.arange(10), entity=np.array([0] * 6 + [1] * 3 + [2]))
    assert _filled(score, layout).tolist() == [1, 1, 2, 3, 3, 3, 6, 7, 8, np.float32(4.5)]


def test_a_spree_is_found_though_ids_repeat(cards):
    fraud = cards.table["FRAUD"].to_numpy(zero_copy_only=False)
    assert np.median(cards.rows.score[fraud]) > np.quantile(cards.rows.score[~fraud], 0.99)
    assert set(cards.scores["top1_channel"].to_numpy(zero_copy_only=False)[fraud]) & {"amount"}
    worst = cards.anomalies[0]
    assert worst.entity == "7"
    assert worst.id == str(cards.table["TX"][worst.peak].as_py())
    assert "an amount of" in sentence(worst, "transaction")


def test_the_verdict_is_of_rows_that_were_not_learned_from(one, cards):
    figures = verdict(one)
    assert (figures.rows, figures.anomalous, figures.events, figures.found) == (500, 40, 1, 1)
    assert figures.average_precision > 0.3
    assert figures.vus_pr > 0.4
    assert figures.false_alarms_a_day == pytest.approx(figures.false_alarms / (500 / 1440))
    told = verdict(cards)
    assert (told.vus_pr, told.anomalous) == (None, 3)
    assert summary(one, figures)["judged"] == "rows not learned from"


def test_labels_may_be_unknown_and_no_others(one):
    wrong, known = labels(pa.table({"l": [0.0, 2.0, None, float("nan")]}), "l")
    assert (wrong.tolist(), known.tolist()) == ([False, True, False, False], [True, True, False, False])
    with pytest.raises(Exception, match="goes down to -1"):
        labels(pa.table({"l": [-1, 1]}), "l")
    with pytest.raises(Exception, match="expected 0 and 1"):
        labels(pa.table({"l": ["bad", "good"]}), "l")


def test_what_is_learned_can_score_again(one):
    scorer = Scorer.of(one.learned.bundle, one.stream)
    assert len(scorer.judge(one.layout.records.slice(0, 100))) == 1


def test_too_few_rows_are_told_so(tmp_path):
    with pytest.raises(NotEnoughData, match="30 rows are too few to learn from"):
        detect(kit.plant().slice(0, 30), Ask(time="ts", preset="fast"), folder=tmp_path)
