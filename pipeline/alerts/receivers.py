"""From alerts.yaml to receivers that can be sent to.

In: the configuration, and `resolve`, which turns references into secrets. Out: receivers by name. One
that cannot be opened is said loudly and left out: its alerts wait, the others' do not.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline import log
from pipeline.alerts.apprise_receiver import AppriseReceiver
from pipeline.alerts.log_receiver import LogReceiver
from pipeline.alerts.message import Receiver
from pipeline.alerts.webhook_receiver import WebhookReceiver
from pipeline.config import receivers as config
from pipeline.errors import ConfigError


def open_receivers(alerts: config.Alerts, resolve: Callable[[str], str], folder: Path) -> dict[str, Receiver]:
    """Open every receiver that can be; `folder` is where the log receiver writes."""
    opened: dict[str, Receiver] = {}
    for name, receiver in alerts.receivers.items():
        try:
            opened[name] = _open(receiver, resolve, folder)
        except ConfigError as error:
            log.get().error("receiver_broken", receiver=name, error=str(error))
    return opened


def _open(receiver: config.Receiver, resolve: Callable[[str], str], folder: Path) -> Receiver:
    if isinstance(receiver, config.WebhookReceiver):
        return WebhookReceiver(resolve(receiver.url), resolve(receiver.secret), receiver.timeout)
    if isinstance(receiver, config.AppriseReceiver):
        return AppriseReceiver(resolve(receiver.url))
    return LogReceiver(folder)
