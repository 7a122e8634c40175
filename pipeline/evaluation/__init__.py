"""Evaluation: how good scores are, where labels say; pure functions of arrays.

In: labels, scores, times. Out: average precision, VUS-PR, event F1, false alarms a day.
"""

from pipeline.evaluation.figures import Events, Figures, evaluate, match
from pipeline.evaluation.vus import usual_period, vus_pr

__all__ = ["Events", "Figures", "evaluate", "match", "usual_period", "vus_pr"]
