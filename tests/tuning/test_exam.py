"""The exam: the same rows for every trial, no label, and a verdict that luck does not sway."""

from types import SimpleNamespace

import numpy as np
import optuna
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipeline.errors import NotEnoughData
from pipeline.scoring import micros
from pipeline.tuning import Plan, Result, Space, Study, exam, hold, prepare, session, verdict
from tests.tuning import kit


def result(detection, fresh=0.5, error=0.1):
    return Result(detection, fresh, error, {"spike": detection}, epochs=2, seconds=1.0, parameters=10)


@pytest.mark.parametrize("kind", ["plant", "shop"])
def test_what_is_judged_was_learned_by_no_trial(kind):
    about = getattr(kit, kind)()
    history = (kit.readings if kind == "plant" else kit.payments)(about)
    space = Space.of(about, history)
    made = prepare(space, history, seed=0)
    cut = micros(pc.max(history["time"]).as_py()) - made.since
    assert (
        0
        < cut
        < 0.31 * (pc.max(history["time"]).as_py() - pc.min(history["time"]).as_py()).total_seconds() * 1e6
    )
    if kind == "plant":  # the embargo of the longest window that is tried
        shortest = prepare(Space(about, (32,)), history, seed=0)
        assert made.since - shortest.since == (max(space.lengths) - 32) * kit.MINUTE
    assert all(fault.start >= made.since for copy in (*made.copies, *made.fresh) for fault in copy.faults)
    assert made.clean.num_rows < history.num_rows or kind == "shop"


def test_the_search_does_not_see_the_fresh_faults():
    about = kit.plant()
    history = kit.readings(about)
    made, again = (prepare(Space(about, (32,)), history, seed=0) for _ in range(2))
    seen, fresh = ({f for copy in copies for f in copy.faults} for copies in (made.copies, made.fresh))
    assert seen.isdisjoint(fresh)
    assert {f.kind for f in seen} == {f.kind for f in fresh}
    assert [c.faults for c in made.copies] == [c.faults for c in again.copies]


def test_history_that_does_not_move_is_told_in_plain_words():
    about = kit.plant(channels=1)
    flat = kit.readings(about).set_column(2, "c0", pa.array(np.ones(4000)))
    with pytest.raises(NotEnoughData, match="nothing moves in it"):
        prepare(Space(about, (32,)), flat, seed=0)


def fake_scorer(faulty):
    """Judge as a detector would that gives `faulty` wherever a reading differs from the clean ones."""
    clean = {}

    def judge(records, start):
        judged = []
        for name in ("a", "b"):
            mine = records.filter(pc.equal(records["entity"], name))
            values = np.stack([mine[c].to_numpy() for c in ("c0", "c1", "c2")])
            known = clean.setdefault(name, values)
            score = np.where((values != known).any(axis=0), faulty, np.linspace(0, 1, mine.num_rows))
            time = mine["time"].cast(pa.int64()).to_numpy()
            series = _Series(name, time)
            judged.append(
                SimpleNamespace(rows=SimpleNamespace(series=series), scored=SimpleNamespace(score=score))
            )
        return judged

    return SimpleNamespace(judge=judge)


class _Series(SimpleNamespace):
    def __init__(self, entity, time):
        super().__init__(entity=entity, time=time, ids=None)

    def __len__(self):
        return len(self.time)


def test_who_sees_every_fault_has_full_marks_and_who_sees_none_has_chance():
    about = kit.plant()
    made = prepare(Space(about, (32,)), kit.readings(about), seed=0)
    for faulty, low, high in ((2.0, 0.97, 1.0), (-1.0, 0.0, exam.SHARE + 1e-6)):
        scorer = fake_scorer(faulty)
        normal = exam._normal(scorer, made)
        marks = exam._detected(scorer, made.copies, made.since, normal)
        assert set(marks) == set(exam.sensors.KINDS)
        assert all(low <= mark <= high for mark in marks.values()), marks


def test_detection_decides_and_the_error_where_trials_detect_alike():
    assert result(0.6, error=0.9).value > result(0.58, error=0.1).value
    assert result(0.6, error=0.1).value > result(0.6, error=0.9).value
    assert result(0.6, error=float("nan")).value == result(0.6, error=5.0).value


class _Paper:
    """Notes on paper."""

    def __init__(self, number, params, book):
        self.id, self.params, self.book = f"run-{number}", params, book

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False

    def epoch(self, epoch):
        self.book.append((self.id, "epoch"))

    def pruned(self, value):
        self.book.append((self.id, "pruned", value))

    def result(self, made):
        self.book.append((self.id, "result", made.detection))


def sitting(tmp_path, monkeypatch, trials, marks):
    """Hold a session whose trials have these (glance, detection, fresh), by number."""
    turn, space, book = iter(marks), Space(kit.plant(), (16, 32)), []
    now = {}

    def glance(stream, made, folder, on_epoch):
        now["marks"] = next(turn)
        return now["marks"][0]

    def sit(stream, made, folder, on_epoch):
        on_epoch(SimpleNamespace(epoch=1))
        _, detection, fresh = now.pop("marks", None) or next(turn)
        return result(detection, fresh)

    monkeypatch.setattr(session, "glance", glance)
    monkeypatch.setattr(session, "sit", sit)
    study = Study(tmp_path / "s.db", "plant")
    hold(study, space, None, Plan(trials), tmp_path, lambda number, params: _Paper(number, params, book))
    return verdict(study), space, book


def test_with_trials_enough_a_poor_first_look_ends_a_trial_but_never_the_present_one(tmp_path, monkeypatch):
    marks = [(0.0, 0.3, 0.3), *[(0.2 + i / 100, 0.4, 0.4) for i in range(5)], (0.1, 0.9, 0.9)]
    found, _, book = sitting(tmp_path, monkeypatch, 7, marks)
    assert (found.trials, found.pruned, found.failed) == (7, 1, 0)
    assert ("run-6", "pruned", 0.1) in book
    assert found.current.number == 0
    assert found.current.run == "run-0"
    assert len(found.ranked) == 6


def test_with_few_trials_there_is_no_first_look(tmp_path, monkeypatch):
    monkeypatch.setattr(optuna.trial.Trial, "report", lambda *_: pytest.fail("no median of so few"))
    found, _, _ = sitting(tmp_path, monkeypatch, 3, [(None, mark, mark) for mark in (0.3, 0.5, 0.4)])
    assert [each.number for each in found.ranked] == [1, 2, 0]


def test_a_winner_that_fresh_faults_confirm_is_recommended(tmp_path, monkeypatch):
    found, space, _ = sitting(tmp_path, monkeypatch, 3, [(0, 0.3, 0.3), (0, 0.5, 0.4), (0, 0.4, 0.45)])
    assert found.better
    assert found.recommended.number == 1
    assert "trial 1: detection 0.500, now 0.300" in found.yaml(space)


def test_a_winner_by_luck_changes_nothing(tmp_path, monkeypatch):
    found, space, _ = sitting(tmp_path, monkeypatch, 2, [(0, 0.3, 0.35), (0, 0.5, 0.34)])
    assert not found.better
    assert found.recommended is found.current
    assert "luck" in found.sentence
    assert f"architecture: {space.stream.model.architecture}\n" in found.yaml(space)


def test_where_nothing_is_better_it_says_so(tmp_path, monkeypatch):
    found, _, _ = sitting(tmp_path, monkeypatch, 2, [(0, 0.5, 0.5), (0, 0.4, 0.6)])
    assert not found.better
    assert "keep it" in found.sentence
