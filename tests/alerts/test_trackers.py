"""Alertmanager and PagerDuty: what they are sent is what their APIs take, under one identity to the end."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import jsonschema
import pytest

from pipeline import clock
from pipeline.alerts.alertmanager_receiver import AlertmanagerReceiver
from pipeline.alerts.pagerduty_receiver import PagerDutyReceiver
from pipeline.alerts.render import render
from pipeline.config.receivers import Links
from pipeline.errors import DeliveryFailed, DeliveryRefused
from pipeline.events import Claimed
from tests.alerts.conftest import START, answer

TEXT = {"type": "string"}
NAMES = {
    "type": "object",
    "additionalProperties": TEXT,
    "propertyNames": {"pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$"},
}
POSTABLE_ALERTS = {  # of Alertmanager's openapi.yaml, and what the server checks besides
    "type": "array",
    "items": {
        "type": "object",
        "required": ["labels"],
        "additionalProperties": False,
        "properties": {
            "labels": {**NAMES, "minProperties": 1, "required": ["alertname"]},
            "annotations": NAMES,
            "startsAt": {"type": "string", "format": "date-time"},
            "endsAt": {"type": "string", "format": "date-time"},
            "generatorURL": {"type": "string", "format": "uri"},
        },
    },
}
EVENT = {  # of PagerDuty's Events API v2
    "type": "object",
    "required": ["routing_key", "event_action"],
    "additionalProperties": False,
    "properties": {
        "routing_key": {"type": "string", "minLength": 32, "maxLength": 32},
        "event_action": {"enum": ["trigger", "acknowledge", "resolve"]},
        "dedup_key": {"type": "string", "minLength": 1, "maxLength": 255},
        "payload": {
            "type": "object",
            "required": ["summary", "source", "severity"],
            "additionalProperties": False,
            "properties": {
                "summary": {"type": "string", "minLength": 1, "maxLength": 1024},
                "source": {"type": "string", "minLength": 1},
                "severity": {"enum": ["critical", "warning", "error", "info"]},
                "timestamp": {"type": "string", "format": "date-time"},
                **dict.fromkeys(("component", "group", "class"), TEXT),
                "custom_details": {"type": "object"},
            },
        },
        "links": {"type": "array", "items": {"type": "object", "required": ["href"]}},
        "client": TEXT,
    },
    "if": {"properties": {"event_action": {"const": "trigger"}}},
    "then": {"required": ["payload"]},
    "else": {"required": ["dedup_key"]},
}


@pytest.fixture
def server(hooks):
    """A server that answers as both do: taken where the schema holds, else 400."""

    def check(path, schema, status):
        def judge(handler):
            body = json.loads(hooks.posts[-1].body)
            valid = jsonschema.Draft202012Validator(schema).is_valid(body)
            answer(handler, status if valid else 400)

        hooks.behave[path] = judge

    check("/api", POSTABLE_ALERTS, 200)
    check("/v2", EVENT, 202)
    return hooks


@pytest.fixture
def message(anomaly):
    """Return the message about a pump's anomaly, or about an incident it is the worst of."""

    def make(event="firing", incident=None, **facts):
        told = anomaly(**facts)
        payload = told.to_json() | ({"incident": incident} if incident else {})
        claimed = Claimed(f"{told.id}-{event}", "ops", event, payload, 0, told.opened_at, "lease")
        return render(claimed, Links())

    return make


def incident(why="firing", **more):
    facts = {"key": "abc", "why": why, "count": 40, "open": 40, "labels": {"line": "a"}, "streams": 1}
    facts |= {"since": START.isoformat(), "noun": "pump", "digest": False, "lines": [], "anomalies": []}
    return facts | more


def bodies(server):
    return [json.loads(post.body) for post in server.posts]


@pytest.fixture
def alertmanager(server):
    return AlertmanagerReceiver(server.base + "/", timedelta(seconds=5), timedelta(days=7), token="t0ken")


@pytest.fixture
def pagerduty(server):
    return PagerDutyReceiver(server.base + "/v2/enqueue", "k" * 32, timedelta(seconds=5))


def test_alertmanager_gets_the_same_labels_from_firing_to_resolved(server, alertmanager, message):
    now = START + timedelta(hours=1)
    with clock.frozen(now):
        alertmanager.send(message(severity="low"))
        alertmanager.send(message("resolved", severity="critical", open=False))
    (first,), (last,) = bodies(server)
    assert server.posts[0].path == "/api/v2/alerts"
    assert server.posts[0].headers["authorization"] == "Bearer t0ken"
    assert first["labels"] == last["labels"]
    assert first["labels"]["entity"] == "pump-7"
    assert first["labels"]["incident"]
    assert datetime.fromisoformat(first["startsAt"]) == START
    assert datetime.fromisoformat(first["endsAt"]) == now + timedelta(days=7), (
        "told once, and not taken for over"
    )
    assert datetime.fromisoformat(last["endsAt"]) == now
    assert "vibration" in first["annotations"]["summary"]


def test_alertmanager_knows_an_incident_by_what_its_anomalies_have_in_common(server, alertmanager, message):
    alertmanager.send(message(incident=incident()))
    alertmanager.send(message("resolved", incident=incident("resolved"), entity="another pump"))
    (first,), (last,) = bodies(server)
    assert first["labels"] == last["labels"] == {"alertname": "offbeat", "incident": "abc", "line": "a"}


def test_pagerduty_triggers_acknowledges_and_resolves_under_one_key(server, pagerduty, message):
    pagerduty.send(message(incident=incident()))
    pagerduty.send(message(incident=incident("acknowledged")))
    pagerduty.send(message("resolved", incident=incident("resolved")))
    sent = bodies(server)
    assert [each["event_action"] for each in sent] == ["trigger", "acknowledge", "resolve"]
    assert {each["dedup_key"] for each in sent} == {"abc"}
    assert sent[0]["payload"]["severity"] == "error"
    assert sent[0]["payload"]["summary"].startswith("pump_station: 40 pumps, line a: ")


def test_pagerduty_takes_the_longest_names_there_are(server, pagerduty, message):
    pagerduty.send(message(entity="z" * 9999, severity="critical"))
    assert bodies(server)[0]["payload"]["severity"] == "critical"


@pytest.mark.parametrize(
    ("status", "error"), [(400, DeliveryRefused), (429, DeliveryFailed), (500, DeliveryFailed)]
)
def test_what_they_refuse_is_refused_and_what_may_pass_is_tried_again(
    server, alertmanager, pagerduty, message, status, error
):
    for path in ("/api", "/v2"):
        server.behave[path] = lambda handler: answer(handler, status)
    for receiver in (alertmanager, pagerduty):
        with pytest.raises(error, match=f"HTTP {status}"):
            receiver.send(message())
