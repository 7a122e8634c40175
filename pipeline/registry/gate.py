"""The promotion gate: may a challenger become the champion?

In: how both did on the same held-out data at the same alert budget. Out: a decision, with its reason
in words. Pure: nothing is read, nothing is written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class GateInput:
    """How one version did on held-out normal data.

    Args:
        version: Model version.
        error: Mean reconstruction error on the held-out data, scaled; lower is better.
        held_out: Names that data: table version and time range. Both sides must name the same.
        budget: Alert budget the threshold was calibrated to, such as `1/week`.
    """

    version: int
    error: float
    held_out: str = ""
    budget: str = ""


@dataclass(frozen=True)
class Decision:
    """Whether to promote, and why, for people."""

    promote: bool
    reason: str


def gate(challenger: GateInput, champion: GateInput | None) -> Decision:
    """Decide whether `challenger` replaces `champion` (None: there is none yet).

    The first finite version is promoted; after that only a lower error is, judged on the same
    held-out data at the same alert budget. An error that is not a finite number never promotes.
    """
    if not math.isfinite(challenger.error):
        return Decision(False, f"held-out error of version {challenger.version} is not a number")
    if champion is None:
        return Decision(True, f"first version, held-out error {challenger.error:.6g}")
    if different := _different(challenger, champion):
        return Decision(False, f"not comparable with champion {champion.version}: {different}")
    return _compare(challenger, champion)


def _different(one: GateInput, other: GateInput) -> str:
    if one.held_out != other.held_out:
        return f"held-out data {one.held_out!r} against {other.held_out!r}"
    if one.budget != other.budget:
        return f"alert budget {one.budget!r} against {other.budget!r}"
    return ""


def _compare(challenger: GateInput, champion: GateInput) -> Decision:
    against = f"held-out error {challenger.error:.6g} against {champion.error:.6g} of {champion.version}"
    better = math.isnan(champion.error) or challenger.error < champion.error
    return Decision(better, f"{'lower' if better else 'not lower'}: {against}")
