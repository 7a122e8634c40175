"""The `kafka` receiver: a topic of Kafka; the JSON of a webhook, without the picture.

In: messages. Out: one record each, acknowledged by all replicas in sync. Its key is the incident's, so that
all that is said of one thing lies in one partition, in order; the header `webhook-id` is the alert's key.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pipeline.alerts.message import Message
from pipeline.alerts.webhook_receiver import body_of
from pipeline.errors import ConfigError, DeliveryFailed

try:
    import confluent_kafka as kafka
except ImportError:  # pragma: no cover - an extra
    raise ConfigError(
        "a receiver of type kafka needs a client that is not installed", hint="pip install 'offbeat[kafka]'"
    ) from None


class KafkaReceiver:
    """Writes to `topic`. `settings` are librdkafka's, secrets included."""

    def __init__(self, servers: str, topic: str, settings: Mapping[str, str], timeout: timedelta) -> None:
        self._topic, self.timeout = topic, timeout
        self._settings: dict[str, Any] = {
            "client.id": "offbeat",
            "log_level": 2,
            **settings,
            "bootstrap.servers": servers,
            "acks": "all",
            "message.timeout.ms": int(timeout.total_seconds() * 1000),
        }
        self._producer: Any = None

    def send(self, message: Message) -> None:
        """Write, and wait for the acknowledgement."""
        failed: list[Any] = []
        producer = self._opened()
        try:
            producer.produce(
                self._topic,
                body_of(message, pictures=False).encode(),
                key=message.thread.encode(),
                headers={"webhook-id": message.key},
                on_delivery=lambda error, _: failed.append(error) if error else None,
            )
            left = producer.flush(self.timeout.total_seconds() + 5)
        except (kafka.KafkaException, BufferError) as error:
            raise DeliveryFailed(f"Kafka did not take it: {type(error).__name__}") from None
        if left or failed:
            said = failed[0].name() if failed else "no answer"
            raise DeliveryFailed(f"Kafka did not take it: {said}")

    def _opened(self) -> Any:
        if self._producer is None:
            try:
                self._producer = kafka.Producer(self._settings, logger=logging.getLogger("librdkafka"))
            except kafka.KafkaException:  # its text may quote a setting
                raise DeliveryFailed("Kafka's client refuses its settings") from None
        return self._producer
