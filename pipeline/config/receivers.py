"""configs/alerts.yaml as frozen, strict models: who is told, how hard we try, where links lead."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.scalars import Name, Positive, Reference, SecretText, Strict, at


class LogReceiver(Strict):
    """Writes the alert to the log and to `alerts/<stream>.jsonl` in Offbeat's home."""

    type: Literal["log"]
    """`log`"""


class WebhookReceiver(Strict):
    """Posts JSON signed as Standard Webhooks says: HMAC-SHA256 over id.timestamp.body."""

    type: Literal["webhook"]
    """`webhook`"""
    url: Annotated[str, Reference("address")] = Field(min_length=1)
    """Where to post; by reference, `${env:NAME}` or `${connection:NAME}`, when it is a secret."""
    secret: SecretText
    """`whsec_…`, by reference: `${env:NAME}`."""
    timeout: Positive = timedelta(seconds=10)
    """How long the receiver may take to answer."""


class AppriseReceiver(Strict):
    """Anything Apprise knows: mail, Slack, Teams, PagerDuty and a hundred more."""

    type: Literal["apprise"]
    """`apprise`"""
    url: Annotated[str, Reference("service")] = Field(min_length=1)
    """Apprise URL, by reference: `${env:NAME}` or `${connection:NAME}`."""


Receiver = Annotated[LogReceiver | WebhookReceiver | AppriseReceiver, Field(discriminator="type")]


class Delivery(Strict):
    """How hard to try."""

    attempts: int = Field(default=8, ge=1, le=100)
    """After so many failures an alert is dead-lettered, with a meta-alert to the other receivers."""
    backoff: Positive = timedelta(seconds=30)
    """Wait after the first failure; doubles each time, with jitter."""
    backoff_max: Positive = timedelta(hours=1)
    """The longest wait between two tries."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.backoff_max < self.backoff:
            raise at("backoff_max", problem="backoff_max is shorter than backoff")
        return self


_Address = Annotated[str, Field(pattern=r"^https?://[^\s@]+$", max_length=2048)]


class Links(Strict):
    """Where people click through to."""

    airflow: _Address = "http://127.0.0.1:8080"
    """Address of Airflow's UI as the people who read alerts see it."""
    mlflow: _Address = "http://127.0.0.1:5000"
    """Address of MLflow's UI as the people who read alerts see it."""
    page: _Address | None = None
    """Address of the Anomalies page. With `secret`, alerts have links that acknowledge, snooze, or say that
    it is a false alarm: each good for one answer, for seven days, without a login."""
    secret: SecretText | None = None
    """What those links are signed with, by reference: `${env:NAME}`; at least 16 random characters."""


def _log_only() -> dict[str, Receiver]:
    return {"log": LogReceiver(type="log")}


class Alerts(Strict):
    """configs/alerts.yaml: who is told, and how hard we try."""

    receivers: dict[Name, Receiver] = Field(default_factory=_log_only)
    """Who can be told, by the name that streams use."""
    delivery: Delivery = Delivery()
    """How hard to try."""
    links: Links = Links()
    """Where the links in an alert lead."""
