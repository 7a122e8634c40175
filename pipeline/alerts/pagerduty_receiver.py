"""The `pagerduty` receiver: an incident of PagerDuty, by its Events API v2.

In: messages. Out: events under one `dedup_key` from trigger to resolve, so that a repeat pages nobody anew.
https://developer.pagerduty.com/docs/events-api-v2/trigger-events/
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from pipeline.alerts.message import Message
from pipeline.alerts.post import Poster

_SEVERITY = {"low": "info", "medium": "warning", "high": "error", "critical": "critical"}
_SUMMARY = 1024  # characters that the API takes
_DETAILS = 32_000


class PagerDutyReceiver:
    """Posts to the Events API with a service's integration key."""

    def __init__(self, url: str, key: str, timeout: timedelta) -> None:
        self._poster, self._key, self.timeout = Poster(url, timeout), key, timeout

    def send(self, message: Message) -> None:
        """Post once."""
        self._poster.post(json.dumps({"routing_key": self._key, **event_of(message)}))


def event_of(message: Message) -> dict[str, Any]:
    """Return the event as the API takes it, but for the key of the service."""
    action = action_of(message)
    event: dict[str, Any] = {"event_action": action, "dedup_key": message.thread}
    if action != "trigger":
        return event
    anomaly = message.data["anomaly"]
    links = [{"href": where, "text": name.replace("_", " ")} for name, where in message.data["links"].items()]
    payload = {
        "summary": message.title[:_SUMMARY],
        "source": anomaly["entity"] or message.stream,
        "severity": _SEVERITY.get(message.severity, "error"),
        "timestamp": anomaly["start"],
        "component": anomaly["entity"],
        "group": message.stream,
        "class": anomaly["kind"],
        "custom_details": {"text": message.text[:_DETAILS], "alert": message.key},
    }
    return event | {"payload": payload, "links": links, "client": "Offbeat"}


def action_of(message: Message) -> str:
    """Return what the event asks of PagerDuty: trigger, acknowledge or resolve."""
    if message.event == "resolved":
        return "resolve"
    taken = message.data.get("incident", {}).get("why") == "acknowledged"
    return "acknowledge" if taken else "trigger"
