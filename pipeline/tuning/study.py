"""The search itself: an Optuna study in a SQLite file, which goes on where it was killed.

In: a space, and a function that judges a stream. Out: trials, the first of them the stream as it is.

Trial 0 is the present configuration; the others are drawn by TPE (Bergstra et al., NeurIPS 2011), each from
a seed of its own, so that a search that was killed tries what an unbroken one would. A trial may report an
early value from a smaller training, and is pruned where that is below the median of the trials before it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from pipeline.errors import Conflict, DataError, TerminalError
from pipeline.tuning.space import VERSION, Params, Space

if TYPE_CHECKING:
    from pipeline.config.models import Stream

STARTUP = 5
"""Trials drawn at random, and completed without pruning, before TPE and the median say anything."""
_BUSY = 60  # seconds that a writer waits for another
_TUNED = {"kind", "fields", "grid", "window", "model", "training"}
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
DIED, AGAIN, BEGUN, RUN, RESULT, WHY = "died", "again", "begun", "run", "result", "why"  # user attributes
_FIXED = "fixed_params"  # Optuna's attribute of a trial in line


@dataclass(frozen=True)
class Plan:
    """How long to search, and from which seed."""

    trials: int = 20
    """Of the whole study, the present configuration and earlier sessions included."""
    timeout: timedelta | None = None
    """Of this session."""
    seed: int = 7

    @property
    def prunes(self) -> bool:
        """Whether there are so many trials that a median means something."""
        return self.trials > STARTUP


class OutOfTime(Exception):
    """The session's time is over in the middle of a trial; the next session takes it up again."""


@contextmanager
def alone(lock: Path, name: str) -> Iterator[None]:
    """Hold the lock file of a stream's tuning for the block; a process that dies lets go of it.

    Raises:
        Conflict: another process holds it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"{name} is being tuned by another process") from None
        yield


def identity(stream: Stream, seed: int) -> str:
    """Return the study's name: the same as long as its trials can be compared with each other."""
    said = stream.model_dump(mode="json", include=_TUNED)
    mark = hashlib.sha256(json.dumps([VERSION, seed, said], sort_keys=True).encode()).hexdigest()
    return f"{stream.name}-{mark[:12]}"


class Study:
    """One stream's trials, in a file. Only who holds the stream's lock may open it.

    Args:
        file: SQLite; made if it is not there.
        name: from `identity`.

    Raises:
        DataError: the file is damaged.
    """

    def __init__(self, file: Path, name: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        file.parent.mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{file}"
        try:
            storage = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": _BUSY}})
            self._storage, self._name = storage, name
            self._optuna = self._opened()
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            raise DataError(f"{file} cannot be read: {error}; delete it to begin again") from error

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials that ended, in order; not those that died and were begun again."""
        found = self._optuna.get_trials(deepcopy=False, states=_ENDED)
        died = self.about.get(DIED, [])
        return [trial for trial in found if trial.number not in died]

    @property
    def complete(self) -> list[FrozenTrial]:
        """Trials that have a result, in order; the first is the present configuration."""
        return [trial for trial in self.trials if trial.state is TrialState.COMPLETE]

    @property
    def about(self) -> dict[str, Any]:
        """What was remembered with the study."""
        return self._optuna.user_attrs

    def remember(self, **facts: Any) -> None:
        """Keep JSON-able facts with the study."""
        for name, value in facts.items():
            self._optuna.set_user_attr(name, value)

    def revive(self, *, anew: bool = False) -> list[str]:
        """Begin trials again whose process died or ran out of time; return what they had set as `run`.

        One that did so twice has failed for good. A study whose first trial never ended well begins again as
        a whole, so that its trial 0 is the present configuration; with `anew`, any study does.
        """
        dead = self._optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if anew or not self.complete:
            self._begin_again({} if anew else self.about)
        else:
            for trial in dead:
                self._again(trial)
        return [trial.user_attrs[RUN] for trial in dead if RUN in trial.user_attrs]

    def _again(self, dead: FrozenTrial) -> None:
        """Put a dead trial's settings in line once more; one that was not drawn whole is drawn again."""
        begun, settings = BEGUN in dead.user_attrs, dead.system_attrs.get(_FIXED)
        if not (begun and AGAIN in dead.user_attrs):
            self.remember(**{DIED: [*self.about.get(DIED, []), dead.number]})
            if settings := dead.params if begun else settings:
                self._queue(settings)
        self._optuna.tell(dead.number, state=TrialState.FAIL)

    def _queue(self, settings: Params) -> None:
        """Put settings in line, unless a process did so that died before it could say so."""
        waiting = self._optuna.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if settings not in [trial.system_attrs.get(_FIXED) for trial in waiting]:
            self._optuna.enqueue_trial(settings, user_attrs={AGAIN: True})

    def _begin_again(self, about: dict[str, Any]) -> None:
        optuna.delete_study(study_name=self._name, storage=self._storage)
        self._optuna = self._opened()
        self.remember(**about)

    def _opened(self) -> optuna.Study:
        return optuna.create_study(
            storage=self._storage, study_name=self._name, direction="maximize", load_if_exists=True
        )

    def search(self, space: Space, plan: Plan, judge: Callable[[Trial, Callable[[], None]], float]) -> None:
        """Run trials until there are as many as planned, or the time is over.

        Args:
            space: what to draw from.
            plan: how many, how long.
            judge: returns a trial's value; raises `optuna.TrialPruned` to give up on it. It is also given
                a function to call now and then, which raises OutOfTime.

        Raises:
            TerminalError: the present configuration cannot be judged; any other trial then has failed.
        """
        end = time.monotonic() + plan.timeout.total_seconds() if plan.timeout else float("inf")
        if not self._optuna.get_trials(deepcopy=False):
            self._optuna.enqueue_trial(space.current)
        while len(self.trials) < plan.trials and (time.monotonic() < end or not self.complete):
            trial = self._draw(space, plan.seed)
            first = trial.params == space.current  # without it the others mean nothing
            try:
                self._tell(trial, judge, float("inf") if first else end)
            except OutOfTime:
                return
            except TerminalError:
                if first:
                    raise

    def _draw(self, space: Space, seed: int) -> Trial:
        own = seed + len(self.trials)
        self._optuna.sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP, seed=own)
        self._optuna.pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP)
        trial = self._optuna.ask(space.distributions)
        trial.set_user_attr(BEGUN, True)
        return trial

    def _tell(self, trial: Trial, judge: Callable[[Trial, Callable[[], None]], float], end: float) -> None:
        def in_time() -> None:
            if time.monotonic() >= end:
                raise OutOfTime

        try:
            value = judge(trial, in_time)
        except optuna.TrialPruned:
            self._optuna.tell(trial, state=TrialState.PRUNED)
        except TerminalError as error:
            trial.set_user_attr(WHY, f"{type(error).__name__}: {error}")
            self._optuna.tell(trial, state=TrialState.FAIL)
            raise
        else:
            self._optuna.tell(trial, value)

    def importances(self) -> dict[str, float]:
        """Return each parameter's share in how values differ (fANOVA), largest first; {} for few trials."""
        if len({trial.value for trial in self.complete}) < 3:
            return {}
        shares = optuna.importance.get_param_importances(
            self._optuna, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
        )
        return {name: float(share) for name, share in shares.items()}
