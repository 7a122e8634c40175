"""configs/alerts.yaml as frozen, strict models: who is told, how hard we try, where links lead."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from pipeline.config.credentials import named_secret
from pipeline.config.document import Where
from pipeline.config.routes import Inhibit, Route
from pipeline.config.scalars import Budget, Name, Positive, Reference, SecretText, Strict, Zone, at


class ReceiverBase(Strict):
    """What all receivers have."""

    tracks: ClassVar[bool] = False
    """Whether it wants to hear that somebody has taken an alert on."""
    limit: Budget | None = None
    """At most so many alerts in so long, `20/hour`; what is beyond comes in one digest, now and then."""


class LogReceiver(ReceiverBase):
    """Writes the alert to the log and to `alerts/<stream>.jsonl` in Offbeat's home."""

    type: Literal["log"]
    """`log`"""


class WebhookReceiver(ReceiverBase):
    """Posts JSON signed as Standard Webhooks says: HMAC-SHA256 over id.timestamp.body."""

    type: Literal["webhook"]
    """`webhook`"""
    url: Annotated[str, Reference("address")] = Field(min_length=1)
    """Where to post; by reference, `${env:NAME}` or `${connection:NAME}`, when it is a secret."""
    secret: SecretText
    """`whsec_…`, by reference: `${env:NAME}`."""
    timeout: Positive = timedelta(seconds=10)
    """How long the receiver may take to answer."""


class AppriseReceiver(ReceiverBase):
    """Anything Apprise knows: mail, Slack, Teams, PagerDuty and a hundred more."""

    type: Literal["apprise"]
    """`apprise`"""
    url: Annotated[str, Reference("service")] = Field(min_length=1)
    """Apprise URL, by reference: `${env:NAME}` or `${connection:NAME}`."""


class AlertmanagerReceiver(ReceiverBase):
    """Prometheus Alertmanager, or what speaks its API v2: Grafana, Mimir."""

    type: Literal["alertmanager"]
    """`alertmanager`"""
    url: Annotated[str, Reference("address")] = Field(min_length=1)
    """Its address, without `/api/v2/alerts`; by reference when it is a secret."""
    user: SecretText | None = None
    """For basic authentication, by reference."""
    password: SecretText | None = None
    """For basic authentication, by reference."""
    token: SecretText | None = None
    """Bearer token, by reference."""
    lasts: Positive = timedelta(days=7)
    """Alertmanager takes an alert for resolved that is not said again for so long."""
    timeout: Positive = timedelta(seconds=10)
    """How long it may take to answer."""


class PagerDutyReceiver(ReceiverBase):
    """PagerDuty, by its Events API v2: triggered, acknowledged and resolved under one key."""

    tracks: ClassVar[bool] = True
    type: Literal["pagerduty"]
    """`pagerduty`"""
    key: SecretText
    """Integration key of the service, by reference: `${env:NAME}`."""
    url: Annotated[str, Reference("address")] = "https://events.pagerduty.com/v2/enqueue"
    """`https://events.eu.pagerduty.com/v2/enqueue` for accounts in Europe."""
    timeout: Positive = timedelta(seconds=10)
    """How long it may take to answer."""


class MqttReceiver(ReceiverBase):
    """A topic of an MQTT broker: the JSON of a webhook, one message an alert, quality of service 1."""

    type: Literal["mqtt"]
    """`mqtt`"""
    url: Annotated[str, Reference("path")] = Field(min_length=1)
    """`mqtt://host:port`, or `mqtts://host:port` for TLS; `${env:NAME}` is allowed."""
    topic: str = Field(default="offbeat/alerts/{stream}", min_length=1, max_length=1024, pattern=r"^[^#+]+$")
    """Where to publish; `{stream}`, `{severity}` and `{event}` are filled in."""
    user: SecretText | None = None
    """By reference: `${env:NAME}`."""
    password: SecretText | None = None
    """By reference: `${env:NAME}`."""
    authority: str = ""
    """File with the certificate authorities to trust; those of the system when left out."""
    timeout: Positive = timedelta(seconds=15)
    """How long the broker may take to acknowledge."""


class KafkaReceiver(ReceiverBase):
    """A topic of Kafka: the JSON of a webhook, one message an alert, keyed by what it is about."""

    type: Literal["kafka"]
    """`kafka`"""
    servers: Annotated[str, Reference("path")] = Field(min_length=1)
    """Brokers to begin with, `host:port` with commas between; `${env:NAME}` is allowed."""
    topic: str = Field(min_length=1, max_length=249, pattern=r"^[A-Za-z0-9._\-]+$")
    """Where to write."""
    options: dict[str, str] = Field(default_factory=dict)
    """More settings, by librdkafka's own names: `security.protocol: SASL_SSL`."""
    secrets: dict[str, SecretText] = Field(default_factory=dict)
    """The secret ones, by reference: `sasl.password: ${env:NAME}`."""
    timeout: Positive = timedelta(seconds=15)
    """How long the brokers may take to acknowledge."""

    @model_validator(mode="after")
    def _in_secrets(self) -> Self:
        for name in self.options:
            if named_secret(name) and not name.endswith(("location", "mechanism", "mechanisms")):
                raise at(
                    "options", name, problem=f"{name} is a secret, and belongs in `secrets`, by reference"
                )
        if "bootstrap.servers" in self.options:
            raise at("options", "bootstrap.servers", problem="say it in `servers`")
        return self


Receiver = Annotated[
    LogReceiver
    | WebhookReceiver
    | AppriseReceiver
    | AlertmanagerReceiver
    | PagerDutyReceiver
    | MqttReceiver
    | KafkaReceiver,
    Field(discriminator="type"),
]
TYPES = tuple(get_args(kind.model_fields["type"].annotation)[0] for kind in get_args(get_args(Receiver)[0]))
"""What a receiver's `type` may be."""


class Delivery(Strict):
    """How hard to try."""

    attempts: int = Field(default=12, ge=1, le=100)
    """After so many failures, which take some four hours, an alert is dead-lettered, with a meta-alert to the
    other receivers."""
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
    routes: tuple[Route, ...] = ()
    """Who is told of what: the first route that matches wins. What none matches goes to the stream's own
    `alert.receivers`, at once."""
    inhibit: tuple[Inhibit, ...] = ()
    """What is not told while something else is open."""
    timezone: Zone = "UTC"
    """IANA zone that times of the week are meant in."""
    delivery: Delivery = Delivery()
    """How hard to try."""
    links: Links = Links()
    """Where the links in an alert lead."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        for where, name in _named(self.routes, ("routes",)):
            if name not in self.receivers:
                raise at(*where, problem=f"no receiver {name} here: {', '.join(sorted(self.receivers))}")
        for where in _nobody(self.routes, ("routes",)):
            raise at(*where, problem="nobody is named, here or above: say `to`; `to: []` tells nobody")
        return self

    @property
    def at_once(self) -> bool:
        """Tell whether every anomaly is told by itself, at once, to the receivers that its stream names."""
        own = any(each.limit or each.tracks for each in self.receivers.values())
        return not (self.routes or self.inhibit or own)


def _named(routes: tuple[Route, ...], where: Where) -> Iterator[tuple[Where, str]]:
    """Yield each receiver that routes name, and where."""
    for i, route in enumerate(routes):
        here = (*where, i)
        yield from (((*here, "to", k), name) for k, name in enumerate(route.to or ()))
        for k, step in enumerate(route.escalate):
            yield from (((*here, "escalate", k, "to", n), name) for n, name in enumerate(step.to))
        yield from _named(route.routes, (*here, "routes"))


def _nobody(routes: tuple[Route, ...], where: Where) -> Iterator[Where]:
    """Yield where routes neither name receivers nor have them from above."""
    for i, route in enumerate(routes):
        if route.to is None:
            here = (*where, i)
            yield from _nobody(route.routes, (*here, "routes")) if route.routes else [here]
