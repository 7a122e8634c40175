"""The `alertmanager` receiver: Prometheus Alertmanager's API v2, `POST /api/v2/alerts`.

In: messages. Out: one alert each. Its labels stay the same from firing to resolved, as they are what
Alertmanager knows an alert by; what may change (severity, title) is in its annotations.
https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml
"""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta
from typing import Any

from pipeline import clock
from pipeline.alerts.message import Message
from pipeline.alerts.post import Poster

_PATH = "/api/v2/alerts"


class AlertmanagerReceiver:
    """Posts to Alertmanager; with a user and password, or a bearer token, if it wants one."""

    def __init__(
        self,
        url: str,
        timeout: timedelta,
        lasts: timedelta,
        *,
        user: str = "",
        password: str = "",
        token: str = "",
    ) -> None:
        self._poster, self.timeout, self._lasts = Poster(url.rstrip("/") + _PATH, timeout), timeout, lasts
        basic = base64.b64encode(f"{user}:{password}".encode()).decode() if user or password else ""
        login = f"Bearer {token}" if token else f"Basic {basic}" if basic else ""
        self._headers = {"authorization": login} if login else {}

    def send(self, message: Message) -> None:
        """Post once. A resolve ends the alert now; anything else lets it last."""
        self._poster.post(json.dumps([alert_of(message, clock.now(), self._lasts)]), self._headers)


def alert_of(message: Message, now: datetime, lasts: timedelta) -> dict[str, Any]:
    """Return the alert as the API takes it.

    Without an end Alertmanager would take it for resolved after its `resolve_timeout`, five minutes unless
    said otherwise: as it is told once, it is given one that is far off.
    """
    incident, links = message.data.get("incident", {}), message.data["links"]
    starts = datetime.fromisoformat(incident.get("since") or message.data["anomaly"]["start"])
    ends = max(now if message.event == "resolved" else now + lasts, starts)
    return {
        "labels": labels_of(message),
        "annotations": {"summary": message.title, "description": message.text, "severity": message.severity},
        "startsAt": starts.isoformat(),
        "endsAt": ends.isoformat(),
        **({"generatorURL": next(iter(links.values()))} if links else {}),
    }


def labels_of(message: Message) -> dict[str, str]:
    """Return labels that stay the same for all that is said of one thing."""
    incident, anomaly = message.data.get("incident", {}), message.data["anomaly"]
    named = {"alertname": "offbeat" if message.event != "meta" else "offbeat_undelivered"}
    named["incident"] = message.thread
    if incident.get("labels") or incident.get("digest"):
        return {**{_label(k): v for k, v in incident["labels"].items() if v}, **named}
    about = {name: str(anomaly[name]) for name in ("stream", "entity", "kind")}
    return {**{name: value for name, value in about.items() if value}, **named}


def _label(name: str) -> str:
    return name.replace("-", "_") if not name[0].isdigit() else f"_{name.replace('-', '_')}"
