"""Arrivals of MQTT: a second subscription, which only notices that something comes.

In: a stream. Out: yes or no. It has a client id of its own, a session that ends with its connection, and
quality of service 0: what the broker keeps for the ingest stays as it is. After one message no more are read.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paho.mqtt import client as mqtt

from pipeline.config.models import MqttSource as Config
from pipeline.config.models import Stream
from pipeline.sources.arrivals import Arrivals
from pipeline.sources.mqtt import MqttSource

WAIT = 0.5  # seconds that a look waits for a message


class MqttArrivals(Arrivals):
    """Listens until something comes; while there was no connection something may have."""

    def __init__(self, stream: Stream, config: Config, base: Path) -> None:
        self._listener = _Listener(stream, config, base)

    def some(self, position: Mapping[str, Any]) -> bool:
        """Listen for a moment."""
        return self._listener.heard()

    def close(self) -> None:
        """Leave the broker, which forgets us."""
        self._listener.leave()


class _Listener(MqttSource):
    """Connects and subscribes as the source does, and takes nothing."""

    _passing = True

    def __init__(self, stream: Stream, config: Config, base: Path) -> None:
        super().__init__(stream, config, base)
        self._session = f"{self._session[:40]}-wake-{uuid.uuid4().hex[:12]}"
        self._came = True

    def heard(self) -> bool:
        """Say whether a message has come since the last time, or may have."""
        self._came |= self._client is None or not self._client.is_connected()
        client, ends = self._connected(0), time.monotonic() + WAIT
        while not self._came and time.monotonic() < ends:
            if self._loop(client, 0.05):
                raise self._gone()
        if not self._came:
            return False
        self.leave()
        self._connected(0)  # listens again before anybody is told, so that what comes next is noticed
        self._came = False
        return True

    def leave(self) -> None:
        """End the session, and with it what was sent and not read."""
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()

    def _session_kept(self) -> dict[str, Any]:
        return {"clean_start": True} if self.config.version == "5" else {}

    def _on_connect(self, client: mqtt.Client, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            self._trouble = str(reason)
        else:
            client.subscribe([(_unshared(topic), 0) for topic in self.config.topics])

    def _on_message(self, *_: Any) -> None:
        self._came = True


def _unshared(topic: str) -> str:
    """Return the filter without its group: one who listens must take no message from those who share."""
    return topic.split("/", 2)[2] if topic.startswith("$share/") else topic
