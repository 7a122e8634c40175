"""One sitting of a search: trials, one after the other, each told to whoever records them.

In: a study, a space, an exam. Out: trials in the study's file; runs in whatever the recorder writes to.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol

import optuna

from pipeline.tuning.exam import Exam, Result, glance, sit
from pipeline.tuning.space import Params, Space
from pipeline.tuning.study import RESULT, RUN, Plan, Study

if TYPE_CHECKING:
    from optuna.trial import Trial

    from pipeline.models.progress import Epoch


class Notes(Protocol):
    """What is written down of one trial."""

    @property
    def id(self) -> str:
        """Of the run it is written to."""

    def epoch(self, epoch: Epoch) -> None:
        """One epoch of its training is over."""

    def pruned(self, value: float) -> None:
        """It is given up after a first look that was worth `value`."""

    def result(self, result: Result) -> None:
        """It is done."""


Recorder = Callable[[int, Params], AbstractContextManager[Notes]]
"""Opens the notes of a trial, by number and parameters, for the length of a block."""


def hold(study: Study, space: Space, exam: Exam, plan: Plan, folder: Path, record: Recorder) -> None:
    """Run trials until the plan is fulfilled; those that are in the study already count.

    Raises:
        NotEnoughData: there is too little history for the present configuration.
        OffbeatError: the present configuration cannot be trained, or something else may work later.
    """

    def judge(trial: Trial, in_time: Callable[[], None]) -> float:
        stream = space.apply(trial.params)
        with record(trial.number, trial.params) as notes, TemporaryDirectory(dir=folder) as work:
            trial.set_user_attr(RUN, notes.id)

            def tell(epoch: Epoch) -> None:
                in_time()
                notes.epoch(epoch)

            if plan.prunes:
                first = glance(stream, exam, Path(work, "glance"), on_epoch=lambda _: in_time())
                trial.report(first, step=0)
            if trial.params == space.current or not trial.should_prune():
                result = sit(stream, exam, Path(work, "whole"), on_epoch=tell)
                trial.set_user_attr(RESULT, asdict(result))
                notes.result(result)
                return result.value
            notes.pruned(first)
        raise optuna.TrialPruned

    study.search(space, plan, judge)
