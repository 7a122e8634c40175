"""The gate: who may become champion."""

from __future__ import annotations

import math

import pytest

from pipeline.registry import GateInput, gate


def judged(error: float, version: int = 1, held_out: str = "v3", budget: str = "1/week") -> GateInput:
    return GateInput(version, error, held_out, budget)


@pytest.mark.parametrize(
    ("challenger", "champion", "promoted", "reason"),
    [
        (judged(0.2), None, True, "first version"),
        (judged(0.1, 2), judged(0.2), True, "lower"),
        (judged(0.3, 2), judged(0.2), False, "not lower"),
        (judged(0.2, 2), judged(0.2), False, "not lower"),
        (judged(0.0, 2), judged(0.2), True, "lower"),
        (judged(math.nan, 2), judged(0.2), False, "not a number"),
        (judged(math.inf, 2), judged(0.2), False, "not a number"),
        (judged(-math.inf, 2), judged(0.2), False, "not a number"),
        (judged(math.nan), None, False, "not a number"),
        (judged(0.2, 2), judged(math.nan), True, "lower"),
        (judged(math.nan, 2), judged(math.nan), False, "not a number"),
        (judged(0.1, 2, held_out="v4"), judged(0.2), False, "held-out data 'v4' against 'v3'"),
        (judged(0.1, 2, budget="9/day"), judged(0.2), False, "alert budget '9/day' against '1/week'"),
    ],
)
def test_only_a_first_or_a_better_version_is_promoted(
    challenger: GateInput, champion: GateInput | None, promoted: bool, reason: str
) -> None:
    decision = gate(challenger, champion)
    assert decision.promote is promoted
    assert reason in decision.reason


def test_a_decision_names_both_errors() -> None:
    reason = gate(judged(0.125, 7), judged(0.25, 3)).reason
    assert "0.125" in reason
    assert "0.25 of 3" in reason
