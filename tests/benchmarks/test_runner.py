"""A killed run goes on where it was; one failure does not end the others; the table says what was reached."""

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy import report, runner, store, suites
from benchmarks.accuracy.work import OURS, Figure, Job, Line, Settings, Target, Verdict


@dataclass
class Toy:
    """Five series by ours and by a baseline; `broken` ones fail, `stop_at` is where the plug is pulled."""

    NAME: str = "toy"
    TITLE: str = "Toy"
    READS: tuple = ()
    ALONE: bool = False
    TARGETS: tuple = (Target("figure", 0.5, 0.9), Target("figure", None, 0.9))
    broken: tuple = ()
    stop_at: str = ""
    asked: list = field(default_factory=list)
    __file__: str = str(Path(suites.__file__).with_name("skab.py"))

    def jobs(self, data):
        return [Job("toy", s, m, rows=ord(s)) for s in "abcde" for m in (OURS, "blind")]

    def run(self, job, settings):
        if job.series == self.stop_at:
            raise KeyboardInterrupt
        self.asked.append(job)
        if job.series in self.broken:
            raise ValueError(f"{job.series} is broken in {__file__}")
        return {"value": np.array(ord(job.series))}

    def judge(self, data, done):
        ours = Line(OURS, "ours", {"figure": len(done) / 10, "lost": float("nan")})
        lines = [
            Line("A 2019", "published", {"figure": 0.4}),
            Line("blind", "baseline", {"figure": 0.2}),
            ours,
        ]
        return Verdict(
            lines, [Figure("d", j.series, j.method, "value", float(a["value"])) for j, a in done.items()]
        )


def here(suite, jobs, settings):
    return (runner._do(suite.NAME, job, settings) for job in jobs)


@pytest.fixture
def toy(monkeypatch):
    made = Toy()
    monkeypatch.setattr(runner, "_in_workers", here)
    monkeypatch.setitem(suites.SUITES, "toy", made)
    return made


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path, tmp_path / "work", tmp_path / "python")


def run(toy, settings, only="all"):
    return runner.run_suite(toy, runner.chosen(toy, settings, only), settings, lambda *_: None)


def test_a_killed_run_goes_on_where_it_was(toy, settings):
    toy.stop_at = "b"
    with pytest.raises(KeyboardInterrupt):
        run(toy, settings)
    before, toy.stop_at, toy.asked = len(toy.asked), "", []
    assert before == 6
    outcome = run(toy, settings)
    assert {job.series for job in toy.asked} == {"a", "b"}
    assert len(outcome.done) == 10
    assert {int(arrays["value"]) for arrays in outcome.done.values()} == set(map(ord, "abcde"))


def test_a_half_written_result_is_none(toy, settings):
    run(toy, settings)
    job = toy.jobs(None)[0]
    path = store.result_path(job, toy, settings)
    path.rename(path.with_suffix(".99.partial"))
    toy.asked = []
    run(toy, settings)
    assert toy.asked == [job]


def test_what_needs_the_machine_to_itself_is_measured_in_every_run(toy, settings):
    toy.ALONE = True
    run(toy, settings)
    run(toy, settings)
    assert len(toy.asked) == 20


def test_another_seed_or_preset_is_another_result_of_ours_alone(toy, settings):
    run(toy, settings)
    for other in ({"seed": 8}, {"preset": "fast"}):
        toy.asked = []
        run(toy, Settings(settings.data, settings.work, settings.tsb_python, **other))
        assert {job.method for job in toy.asked} == {OURS}
        assert len(toy.asked) == 5


def test_another_detector_is_another_result_of_ours_alone(toy, settings, monkeypatch):
    run(toy, settings)
    monkeypatch.setattr(store, "DETECTING", ("pipeline/detect",))
    toy.asked = []
    run(toy, settings)
    assert {job.method for job in toy.asked} == {OURS}


def test_one_failure_does_not_end_the_others(toy, settings):
    toy.broken = ("c",)
    outcome = run(toy, settings)
    assert len(outcome.done) == 8
    assert {job.series for job in outcome.failed} == {"c"}
    toy.broken, toy.asked = (), []
    assert len(run(toy, settings).done) == 10
    assert {job.series for job in toy.asked} == {"c"}, "what failed is tried again"


def test_the_longest_go_first_and_a_choice_is_kept_to(toy, settings):
    assert [j.series for j in runner.chosen(toy, settings, "ours")] == list("edcba")
    assert {j.method for j in runner.chosen(toy, settings, "baselines")} == {"blind"}


def written(toy, settings, folder):
    outcome = run(toy, settings)
    verdict = toy.judge(None, outcome.done)
    entry = report.entry(toy, verdict, outcome, settings, "0123456789abcdef")
    return report.write(folder, "accuracy", {"toy": entry}, {"toy": verdict}).read_text()


def test_the_table_holds_ours_what_is_published_and_the_trivial(toy, settings, tmp_path):
    text = written(toy, settings, tmp_path / "out")
    row = next(line for line in text.splitlines() if line.startswith("| Toy"))
    assert row == "| Toy | figure | 0.400 A 2019 | 0.200 blind | **1** | 0.500 | 0.900 | met |"
    assert "| Toy | figure | 0.400 A 2019 | 0.200 blind | **1** | best trivial | 0.900 | met |" in text


def test_a_target_that_was_missed_or_not_measured_is_said():
    higher, lower = Target("f", 0.5, 1), Target("f", 1.5, 1.1, better="lower")
    assert higher.met(0.5, 9) and not higher.met(0.49, 0) and not higher.met(float("nan"), 0)
    assert lower.met(1.5, 0) and not lower.met(1.6, 0) and not lower.met(float("nan"), 0)
    assert Target("f", None, 1).met(0.3, 0.2) and not Target("f", None, 1).met(0.2, 0.2)


def test_failures_are_told_without_a_machines_paths(toy, settings, tmp_path):
    toy.broken = ("c",)
    written(toy, settings, tmp_path / "out")
    kept = json.loads((tmp_path / "out" / "accuracy.json").read_text())["suites"]["toy"]
    assert set(kept["failed"]) == {"c by Offbeat", "c by blind"}
    assert all("site-packages" not in told and "Traceback" not in told for told in kept["failed"].values())


def test_a_run_of_one_suite_leaves_the_others_as_they_were(toy, settings, tmp_path):
    out = tmp_path / "out"
    written(toy, settings, out)
    verdict = Verdict([Line(OURS, "ours", {"figure": 0.1})], [Figure("d", "x", OURS, "value", 1.0)])
    other = {**json.loads((out / "accuracy.json").read_text())["suites"]["toy"], "title": "Other"}
    report.write(out, "accuracy", {"other": other}, {"other": verdict})
    assert set(json.loads((out / "accuracy.json").read_text())["suites"]) == {"toy", "other"}
    with (out / "accuracy.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["suite"] for row in rows].count("toy") == 10
    assert [row["suite"] for row in rows].count("other") == 1
    report.write(out, "accuracy", {"other": other}, {"other": verdict})
    with (out / "accuracy.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 11


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.4166, "0.417"), (71.23, "71.2"), (58505.0, "58,505"), (62.0, "62"), (float("nan"), "–")],
)
def test_figures_are_short(value, text):
    assert report.number(value) == text


def test_every_suite_says_what_it_is_held_to():
    assert [suite.NAME for suite in suites.ALL] == [
        "tsb_m", "tsb_u", "skab", "nab", "handbook", "s_ffsd", "root_cause", "budget", "speed",
    ]  # fmt: skip
    assert all(suite.TARGETS and suite.TITLE for suite in suites.ALL)
