"""Tuning: which settings find the most faults in a stream, told without a single label.

In: a stream's config and history. Out: a search over its model and window (Optuna), each trial judged by
faults that are put into a copy of held-out data. Knows nothing of MLflow: `steps.tune` logs what it finds.
"""

from pipeline.tuning.exam import Exam, Result, glance, prepare, sit
from pipeline.tuning.faults import Copy, Fault
from pipeline.tuning.session import Notes, hold
from pipeline.tuning.space import Params, Space
from pipeline.tuning.study import Plan, Study, alone, identity
from pipeline.tuning.verdict import Tried, Verdict, verdict

__all__ = [
    "Copy", "Exam", "Fault", "Notes", "Params", "Plan", "Result", "Space", "Study", "Tried", "Verdict",
    "alone", "glance", "hold", "identity", "prepare", "sit", "verdict",
]  # fmt: skip
