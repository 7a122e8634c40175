"""The judges of the other suites, by hand and on the data they judge."""

from itertools import combinations
from math import isnan

import numpy as np
import pandas as pd
import pytest

from benchmarks.accuracy import baselines, budget, nab, root_cause, s_ffsd, skab, smd, tsb
from benchmarks.accuracy.work import LAST, OURS, PCA, TRIVIAL, ZSCORE, Job


def flags(text):
    return np.array([c == "1" for c in text])


def test_skab_counts_rows():
    found = skab.binary(flags("0011110000"), flags("0001111000"))
    assert found["F1"] == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))
    assert found["false alarms %"] == pytest.approx(100 / 6)
    assert found["missed %"] == pytest.approx(25)


def test_skabs_perfect_and_null_detectors_score_as_on_its_leaderboard():
    truth = flags("0011110000")
    assert skab.binary(truth, truth) == {"F1": 1, "false alarms %": 0, "missed %": 0}
    assert skab.binary(truth, flags("0" * 10)) == {"F1": 0, "false alarms %": 0, "missed %": 100}


def test_skab_pools_rows_of_all_files_and_leaves_training_rows_out(data):
    frame = skab.read(data)
    assert frame["file"].nunique() == 17
    done = {}
    for name, part in frame.groupby("file"):
        flag = part["anomaly"].to_numpy() == 1
        flag[: skab.TRAIN_ROWS] = True
        done[Job("skab", str(name), OURS)] = {"flag": flag}
    ours = skab.judge(data, done).lines[-1]
    assert ours.figures == {"F1": 1, "false alarms %": 0, "missed %": 0}
    done.popitem()
    missed = skab.judge(data, done).lines[-1].figures["F1"]
    assert 0.9 < missed < 1, "a file that failed counts as missed"


@pytest.mark.parametrize(
    ("track", "published"),
    [
        (tsb.M, {"CNN": 0.387, "KMeansAD": 0.365, "LSTMAD": 0.326, "AutoEncoder": 0.223, tsb.BEST: 0.555}),
        (tsb.U, {"POLY": 0.677, "MOMENT (FT)": 0.625, "Sub-PCA": 0.557, "LSTMAD": 0.359, tsb.BEST: 0.881}),
    ],
)
def test_published_figures_come_out_as_published(data, track, published):
    found = {line.method: line.figures[tsb.VUS] for line in track.judge(data, {}).lines}
    assert {m: round(found[m], 3) for m in published} == pytest.approx(published, abs=1.1e-3)


def test_a_series_that_failed_counts_nothing(data):
    jobs = [job for job in tsb.M.jobs(data) if job.method == OURS]
    half = {job: {"vus_pr": np.array(1.0)} for job in jobs if "SMD" in job.series}
    assert len(jobs) == 28
    assert tsb.M.judge(data, half).lines[-1].figures[tsb.VUS] == pytest.approx(1 / 3)


def test_every_window_of_nab_is_found_in_its_file(data):
    windows, frame = nab.read_windows(data), nab.read(data)
    sizes = frame.groupby("name").size()
    assert set(windows) == set(sizes.index)
    assert sum(map(len, windows.values())) == 57
    for name, known in windows.items():
        assert all(nab.probation(sizes[name]) <= a < b < sizes[name] for a, b in known), name


def test_nab_is_perfect_where_each_window_is_flagged_at_its_start(data):
    windows, sizes = nab.read_windows(data), nab.read(data).groupby("name").size()
    done = {}
    for name, known in windows.items():
        score = np.zeros(sizes[name])
        score[[first for first, _ in known]] = 1
        done[Job("nab", name, OURS)] = {"onset": score, "score": score}
    figures = nab.judge(data, done).lines[-1].figures
    assert figures[nab.STANDARD] == figures[nab.OWN] == pytest.approx(100)


def test_incidents_are_read_as_rows_and_channels(data):
    assert smd.incident("10-20:1,38") == smd.Incident(10, 19, frozenset({"f00", "f37"}))
    for machine in smd.machines(data):
        label = smd.part(data, machine, "test")["label"].to_numpy()
        for incident in smd.incidents(data, machine):
            assert label[incident.first] == 1
            assert incident.first == 0 or label[incident.first - 1] == 0


def test_a_hit_is_a_channel_at_fault_among_three_at_the_highest_row():
    known = [
        smd.Incident(1, 3, frozenset({"b"})),
        smd.Incident(5, 6, frozenset({"b"})),
        smd.Incident(8, 8, frozenset("b")),
    ]
    top = np.array([["a", "c", "d"]] * 10)
    top[2] = ["a", "d", "b"]
    score = np.array([0, 1, 9, 2, 0, 3, 3, 0, 0, 0.0])
    found = {"top": top, "score": score, "flag": score >= 1}
    assert root_cause.found_hits(known, found) == [True, False]
    assert isnan(root_cause.share([]))


def test_chance_is_what_drawing_blindly_gives():
    draws = list(combinations(range(6), 3))
    hit = sum(any(c < 2 for c in draw) for draw in draws) / len(draws)
    assert root_cause.by_chance(2, 6) == pytest.approx(hit)


@pytest.mark.parametrize(
    ("text", "merge", "count"), [("000", 5, 0), ("1", 5, 1), ("10010001", 3, 2), ("11011", 1, 2)]
)
def test_flags_close_together_are_one_alarm(text, merge, count):
    assert budget.alarms(flags(text), merge) == count


def test_the_budget_is_judged_on_what_nobody_learned_from(data):
    for series, days in (("1-2", 6.58), (budget.TEP, 2.0)):
        frame, rows, step = budget.normal(data, series)
        assert (len(frame) - rows) * step / pd.Timedelta(days=1) == pytest.approx(days, abs=0.01)
        assert frame["time"].is_monotonic_increasing
        assert "label" not in frame.columns


def test_alarms_are_summed_before_they_are_divided(data):
    done = {
        Job("budget", "a", OURS): {"observed": np.array(4), "declared": np.array(1.0), "days": np.array(1.0)},
        Job("budget", "b", OURS): {"observed": np.array(0), "declared": np.array(3.0), "days": np.array(1.0)},
    }
    assert budget.judge(data, done).lines[0].figures[budget.RATIO] == 1


def test_s_ffsd_is_judged_on_the_papers_fifth_and_the_unknown_do_not_count(data):
    label = s_ffsd.read(data)["Labels"].to_numpy()
    test = s_ffsd.published_test(label)
    assert len(test) == len(set(test)) == 9_346
    assert np.bincount(label[test]).tolist() == [2_975, 418, 5_953]
    known = label != s_ffsd.UNKNOWN
    perfect = np.where(label == 1, 1.0, np.where(label == s_ffsd.UNKNOWN, 2.0, 0.0))
    assert s_ffsd.precision(label, perfect, known) == 1


def test_a_cards_first_amount_says_nothing_and_later_ones_do_not_change_earlier():
    card, amount = list("abaab"), [10, 5, 30, 5, 10]
    found = baselines.amount_over_mean(card, amount, unit=0.0)
    assert found.tolist() == [1, 1, 3, 0.25, 2]
    assert baselines.amount_over_mean(card[:3], amount[:3], unit=0.0).tolist() == found[:3].tolist()


@pytest.mark.parametrize("method", TRIVIAL)
def test_baselines_see_a_jump_and_learn_only_from_training_rows(method):
    rng = np.random.default_rng(3)
    wave = np.sin(np.arange(600) / 7)[:, None] + 0.05 * rng.normal(size=(600, 3))
    wave[500, 1] += 4
    found = baselines.errors(method, wave, 300)
    assert found.shape == wave.shape
    assert np.isfinite(found).all()
    assert found.mean(axis=1).argmax() in range(500, 510)
    assert baselines.top_channels(found, ["x", "y", "z"])[found.mean(axis=1).argmax()][0] == "y"
    wild = wave.copy()
    wild[550:] *= 100
    assert np.allclose(baselines.errors(method, wild, 300)[:550], found[:550])


def test_a_channel_that_was_constant_is_scaled_by_the_usual_spread():
    raw = np.column_stack([np.arange(10.0), np.zeros(10)])
    raw[8:, 1] = 5
    scaled = baselines.standardised(raw, 8)
    assert scaled[:8, 1].tolist() == [0] * 8
    assert scaled[9, 1] == pytest.approx(5 / np.std(np.arange(8.0)))


def test_the_trivial_baselines_are_all_there(data):
    for suite in (tsb.M, tsb.U, skab, nab, root_cause):
        assert {job.method for job in suite.jobs(data)} == {ZSCORE, LAST, PCA, OURS}
