"""How an error ends a task: terminal ones fail at once, a missing model skips, the rest is tried again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import Conflict, DataError, NoChampion, NotEnoughData, Unavailable

pytestmark = pytest.mark.usefixtures("airflow")


@pytest.mark.parametrize("error", [Conflict("raced"), Unavailable("down"), OSError("disk")])
def test_a_transient_error_is_left_to_airflows_retries(error: Exception) -> None:
    from offbeat_common import outcomes

    with pytest.raises(type(error)), outcomes():
        raise error


def test_a_terminal_error_is_not_tried_again() -> None:
    from airflow.sdk.exceptions import AirflowFailException
    from offbeat_common import outcomes

    with pytest.raises(AirflowFailException, match="no such column"), outcomes():
        raise DataError("no such column")


def test_scoring_without_a_model_is_skipped() -> None:
    from airflow.sdk.exceptions import AirflowSkipException
    from offbeat_common import outcomes

    with pytest.raises(AirflowSkipException, match="no champion"), outcomes():
        raise NoChampion("no champion yet")


def test_too_little_history_is_too_early_for_whoever_says_so() -> None:
    from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
    from offbeat_common import outcomes

    with pytest.raises(AirflowSkipException), outcomes(NotEnoughData):
        raise NotEnoughData("ten rows")
    with pytest.raises(AirflowFailException), outcomes():
        raise NotEnoughData("ten rows")


def context(run_type: str, **params: Any) -> dict[str, Any]:
    from airflow.sdk import timezone

    return {
        "dag_run": SimpleNamespace(run_type=run_type, dag_id="score__pumps", run_id="r1"),
        "params": {"start": None, "end": None, "silent": False} | params,
        "data_interval_start": timezone.datetime(2026, 2, 1),
        "data_interval_end": timezone.datetime(2026, 2, 2),
    }


def test_a_backfill_scores_its_own_interval_and_alerts_nobody() -> None:
    from offbeat_common import scope

    assert scope(context("backfill")) == {
        "start": "2026-02-01T00:00:00+00:00",
        "end": "2026-02-02T00:00:00+00:00",
        "silent": True,
    }


@pytest.mark.parametrize("run_type", ["scheduled", "asset_triggered"])
def test_a_scheduled_run_scores_what_is_new_whatever_its_interval(run_type: str) -> None:
    from offbeat_common import scope

    assert scope(context(run_type)) == {"start": None, "end": None, "silent": False}


def test_a_manual_run_scores_what_it_was_asked() -> None:
    from offbeat_common import scope

    asked = {"start": "2026-02-01T00:00:00+00:00", "end": None, "silent": True}
    assert scope(context("manual", **asked)) == asked
