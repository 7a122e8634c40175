"""What a search found: the best trial against the present configuration, and what to do about it.

In: a study. Out: a verdict, as numbers and as the YAML lines to paste.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from pipeline.tuning.exam import Result
from pipeline.tuning.space import Params, Space
from pipeline.tuning.study import RESULT, RUN, Study


@dataclass(frozen=True)
class Tried:
    """A trial that was judged."""

    number: int
    run: str
    """Id of what was recorded of it."""
    params: Params
    result: Result

    def told(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        result = asdict(self.result)
        return {
            "trial": self.number,
            "run_id": self.run,
            "params": self.params,
            "value": self.result.value,
        } | result


@dataclass(frozen=True)
class Verdict:
    """The best trials, and whether the very best is worth changing anything for."""

    current: Tried
    ranked: tuple[Tried, ...]
    """Best first, the present configuration among them."""
    trials: int
    """All that ended, those pruned and failed included."""
    pruned: int
    failed: int

    @property
    def best(self) -> Tried:
        """The trial with the highest value."""
        return self.ranked[0]

    @property
    def better(self) -> bool:
        """Whether the best trial beats the present configuration on unseen faults as well."""
        return self.best is not self.current and self.best.result.fresh > self.current.result.fresh

    @property
    def recommended(self) -> Tried:
        """What to use: the best trial if it holds on fresh faults, else what there is."""
        return self.best if self.better else self.current

    @property
    def sentence(self) -> str:
        """What came out, for people."""
        now, best = self.current.result, self.best.result
        if self.best is self.current:
            return f"none of {self.trials} trials is better than the present configuration: keep it"
        found = f"trial {self.best.number}: detection {best.detection:.3f}, now {now.detection:.3f}"
        fresh = f"on fresh faults {best.fresh:.3f}, now {now.fresh:.3f}"
        return f"{found}; {fresh}" + ("" if self.better else ": it was luck, keep what there is")

    def yaml(self, space: Space) -> str:
        """Return the lines to put into the stream's file."""
        return space.yaml(self.recommended.params, (f"offbeat tune {space.stream.name}", self.sentence))


def verdict(study: Study) -> Verdict:
    """Return what a study has found so far; its first trial must have ended well."""
    tried = [_tried(trial) for trial in study.complete]
    ranked = sorted(tried, key=lambda each: (-each.result.value, each.number))
    states = [trial.state for trial in study.trials]
    pruned, failed = states.count(TrialState.PRUNED), states.count(TrialState.FAIL)
    return Verdict(tried[0], tuple(ranked), len(states), pruned, failed)


def _tried(trial: FrozenTrial) -> Tried:
    attrs = trial.user_attrs
    return Tried(trial.number, attrs.get(RUN, ""), dict(trial.params), Result(**attrs[RESULT]))
