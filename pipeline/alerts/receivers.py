"""From alerts.yaml to receivers that can be sent to.

In: the configuration, and `resolve`, which turns references into secrets. Out: receivers by name. One
that cannot be opened is said loudly and left out: its alerts wait, the others' do not.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline import log
from pipeline.alerts.alertmanager_receiver import AlertmanagerReceiver
from pipeline.alerts.apprise_receiver import AppriseReceiver
from pipeline.alerts.log_receiver import LogReceiver
from pipeline.alerts.message import Receiver
from pipeline.alerts.pagerduty_receiver import PagerDutyReceiver
from pipeline.alerts.webhook_receiver import WebhookReceiver
from pipeline.config import receivers as config
from pipeline.errors import ConfigError

Resolve = Callable[[str], str]


def open_receivers(alerts: config.Alerts, resolve: Resolve, folder: Path) -> dict[str, Receiver]:
    """Open every receiver that can be; `folder` is where the log receiver writes."""
    opened: dict[str, Receiver] = {}
    for name, receiver in alerts.receivers.items():
        try:
            opened[name] = _open(receiver, resolve, folder)
        except ConfigError as error:
            log.get().error("receiver_broken", receiver=name, error=str(error))
    return opened


def _open(receiver: config.Receiver, resolve: Resolve, folder: Path) -> Receiver:
    if isinstance(receiver, config.LogReceiver):
        return LogReceiver(folder)
    if isinstance(receiver, config.WebhookReceiver):
        return WebhookReceiver(resolve(receiver.url), resolve(receiver.secret), receiver.timeout)
    if isinstance(receiver, config.AppriseReceiver):
        return AppriseReceiver(resolve(receiver.url))
    if isinstance(receiver, config.PagerDutyReceiver):
        return PagerDutyReceiver(resolve(receiver.url), resolve(receiver.key), receiver.timeout)
    if isinstance(receiver, config.AlertmanagerReceiver):
        login = {name: _secret(getattr(receiver, name), resolve) for name in ("user", "password", "token")}
        return AlertmanagerReceiver(resolve(receiver.url), receiver.timeout, receiver.lasts, **login)
    return _open_broker(receiver, resolve)


def _open_broker(receiver: config.MqttReceiver | config.KafkaReceiver, resolve: Resolve) -> Receiver:
    """Open what needs a client that may not be installed; ConfigError says so."""
    if isinstance(receiver, config.KafkaReceiver):
        from pipeline.alerts.kafka_receiver import KafkaReceiver

        settings = receiver.options | {name: resolve(text) for name, text in receiver.secrets.items()}
        return KafkaReceiver(resolve(receiver.servers), receiver.topic, settings, receiver.timeout)
    from pipeline.alerts.mqtt_receiver import MqttReceiver

    return MqttReceiver(
        resolve(receiver.url),
        receiver.topic,
        receiver.timeout,
        user=_secret(receiver.user, resolve),
        password=_secret(receiver.password, resolve),
        authority=Path(receiver.authority) if receiver.authority else None,
    )


def _secret(reference: str | None, resolve: Resolve) -> str:
    return resolve(reference) if reference else ""
