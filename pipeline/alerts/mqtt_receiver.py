"""The `mqtt` receiver: a topic of an MQTT broker; the JSON of a webhook, without the picture.

In: messages. Out: one published message each, acknowledged by the broker (quality of service 1). A repeat has
the same `data.key`.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.alerts.message import Message
from pipeline.alerts.webhook_receiver import body_of
from pipeline.errors import ConfigError, DeliveryFailed

try:
    from paho.mqtt import client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion
except ImportError:  # pragma: no cover - an extra
    raise ConfigError(
        "a receiver of type mqtt needs a client that is not installed", hint="pip install 'offbeat[mqtt]'"
    ) from None

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_KEEPALIVE = 60


class MqttReceiver:
    """Publishes to `topic`, over a connection for each alert: they are few, and none is left half open."""

    def __init__(
        self,
        url: str,
        topic: str,
        timeout: timedelta,
        *,
        user: str = "",
        password: str = "",
        authority: Path | None = None,
    ) -> None:
        self._url = urlsplit(url)
        if self._url.scheme not in _PORTS or not self._url.hostname:
            raise ConfigError(
                "not the address of a broker", key="url", expected="mqtt://host or mqtts://host"
            )
        self._topic, self.timeout = topic, timeout
        self._user, self._password, self._authority = user, password, authority

    def send(self, message: Message) -> None:
        """Publish, and wait for the broker's acknowledgement."""
        seconds = self.timeout.total_seconds()
        client = self._client(seconds)
        try:
            client.connect(str(self._url.hostname), self._url.port or _PORTS[self._url.scheme], _KEEPALIVE)
            client.loop_start()
            sent = client.publish(self._where(message), body_of(message, pictures=False), qos=1)
            sent.wait_for_publish(seconds)
            if not sent.is_published():
                raise DeliveryFailed(f"the broker did not acknowledge within {seconds:g} s")
        except (OSError, ValueError, RuntimeError) as error:
            raise DeliveryFailed(f"the broker did not take it: {type(error).__name__}") from None
        finally:
            client.disconnect()
            client.loop_stop()

    def _client(self, seconds: float) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        client.connect_timeout = seconds
        if self._user:
            client.username_pw_set(self._user, self._password or None)
        if self._url.scheme == "mqtts":
            client.tls_set(ca_certs=str(self._authority) if self._authority else None)
        return client

    def _where(self, message: Message) -> str:
        facts = {"stream": message.stream, "severity": message.severity, "event": message.event}
        topic = self._topic
        for name, value in facts.items():
            topic = topic.replace(f"{{{name}}}", value)
        return topic
