"""The API: described, strict about what it takes, and never an error of the server."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from starlette.testclient import TestClient

from pipeline.web import Keeper, application
from tests.web.conftest import TOKEN, USERS

BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize("mode", GenerationMode)
def test_no_request_is_an_error_of_the_server(keeper: Keeper, mode: GenerationMode) -> None:
    """What the description allows and what it forbids: each is answered, or refused in words."""
    app = application(keeper, users=USERS)
    described = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, headers=BEARER)
    tried = [_try(operation.ok(), mode) for operation in described.get_all_operations()]
    assert len(tried) == 10


def _try(operation, mode: GenerationMode) -> None:
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=8, deadline=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), database=None,
    )  # fmt: skip
    def ask(case) -> None:
        case.call_and_validate(headers=BEARER, checks=[not_a_server_error])

    with suppress(Unsatisfiable):  # where nothing can be asked wrongly
        ask()


@pytest.fixture
def robot(keeper: Keeper) -> TestClient:
    return TestClient(application(keeper, users=USERS), headers=BEARER)


def test_streams_and_their_counts(robot: TestClient) -> None:
    rows = {row["stream"]: row for row in robot.get("/api/v1/streams").json()}
    assert (rows["broken"]["health"], rows["plant"]["health"]) == ("broken", "untrained")
    assert rows["plant"]["open"] == {"critical": 1}
    detail = robot.get("/api/v1/streams/plant").json()
    assert detail["received"] == detail["stored"] == 8650
    assert [c["name"] for c in detail["channels"]] == ["flow", "power"]


def test_a_series_has_signals_scores_and_anomalies(robot: TestClient) -> None:
    query = {"entity": "pump-1", "from": "2026-03-07T00:00Z", "to": "2026-03-07T06:00Z", "points": 100}
    found = robot.get("/api/v1/streams/plant/series", params=query).json()
    flow = found["channels"][0]
    assert len(flow["time"]) == 100
    assert min(flow["value"]) == 0
    assert max(found["score"]["value"]) == 2.5
    assert found["seconds"] is None
    assert [a["severity"] for a in found["anomalies"]] == ["high"]


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("streams/plant/series", {"channels": "voltage"}, 409),
        ("streams/plant/series", {"from": "2026-03-07T00:00Z", "to": "2026-03-07T00:00Z"}, 409),
        ("streams/plant/series", {"points": 1}, 422),
        ("streams/plant/series", {"from": "9999-12-31T23:59:59-14:00"}, 422),
        ("streams/plant/series", {"entity": "\x00"}, 422),
        ("streams/cards/transactions", {"day": "0001-01-01"}, 409),
        ("streams/nothing", {}, 404),
        ("anomalies", {"stream": "nothing"}, 404),
        ("anomalies/nothing", {}, 404),
        ("anomalies/nothing/answers", {}, 404),
    ],
)
def test_what_cannot_be_done_is_said_as_json(
    robot: TestClient, path: str, query: dict[str, object], status: int
) -> None:
    answer = robot.get(f"/api/v1/{path}", params=query)
    assert answer.status_code == status
    assert answer.json()["error"]


def test_where_there_is_no_model_nothing_is_expected(robot: TestClient) -> None:
    found = robot.get("/api/v1/streams/plant/expected").json()
    assert found == {"version": None, "channels": [], "why": "there is no model yet"}


def test_an_answer_by_the_api_is_that_of_the_page(robot: TestClient, fault: str) -> None:
    url = f"/api/v1/anomalies/{fault}/answers"
    said = robot.post(url, json={"what": "snoozed", "until": "2026-03-08T09:00:00Z", "why": "lunch"})
    assert said.status_code == 200
    assert robot.get(url).json()[-1]["until"] == "2026-03-08T09:00:00+00:00"
    for body in ({"what": "maybe"}, {"what": "snoozed", "more": 1}, {}):
        assert robot.post(url, json=body).status_code == 422
    assert robot.post(url, json={"what": "snoozed"}).status_code == 409
    assert robot.post(url, json={"what": "reopened"}).status_code == 200


def test_the_description_is_whole(robot: TestClient) -> None:
    described = robot.get("/api/v1/openapi.json").json()
    assert json.dumps(described)
    for path, methods in described["paths"].items():
        assert path.startswith("/api/v1/")
        for method in methods.values():
            assert method["description"]
