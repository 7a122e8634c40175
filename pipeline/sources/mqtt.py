"""Source `mqtt`: topics of an MQTT broker. Position: how many messages the stream has had, and births.

A broker cannot be asked for a message again; it sends what was not acknowledged once more. So messages are
acknowledged after they are stored, never before: a session that outlives the connection keeps them until
then. What was stored and not acknowledged before a crash comes twice, and the store drops it as known.
One thread does it all: while a batch is being stored nothing is read, and the broker waits.
"""

from __future__ import annotations

import hashlib
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline import clock
from pipeline.config.models import MqttSource as Config
from pipeline.config.models import Stream
from pipeline.config.secrets import resolve
from pipeline.errors import ConfigError, Unavailable
from pipeline.sources.conform import Conformer
from pipeline.sources.messages import Message, MessageReader
from pipeline.sources.payloads import decoder, packed, unpacked
from pipeline.sources.source import Batch, Source
from pipeline.sources.work import Work

try:
    from paho.mqtt import client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties
except ImportError:  # pragma: no cover - an extra
    raise ConfigError(
        "source.type mqtt needs a client that is not installed", hint="pip install 'offbeat[mqtt]'"
    ) from None

QUIET = 0.5  # seconds without a message after which what was sent has been read
SOON = 1.0  # seconds after which what has come is handed on, however fast more comes
ANSWER = 15.0  # seconds for the broker to let us in
KEEPALIVE = 600  # seconds: a batch may take long to store
FOREVER = 0xFFFFFFFF  # how long a session of MQTT 5 is kept
NOTHING = "offbeat/nothing"  # a topic that nobody is subscribed to
PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True)
class _Kept:
    """A message that is not acknowledged yet."""

    message: Message
    mid: int
    qos: int


class MqttSource(Source):
    """Subscribes to topics, under a session that stays."""

    keeps = "a broker of MQTT sends nothing twice that was acknowledged: only what is stored was scored again"
    _passing = False  # whether the session ends with the connection

    def __init__(self, stream: Stream, config: Config, base: Path) -> None:
        self.config, self._base = config, base
        self._conform = Conformer(stream)
        self._reader = MessageReader(self._conform, decoder(stream, base))
        self._url = urlsplit(resolve(config.url, secret=False))
        if self._url.scheme not in PORTS or not self._url.hostname:
            raise ConfigError(
                "not the address of a broker", key="source.url", expected="mqtt://host or mqtts://host"
            )
        self._session = config.session or f"offbeat-{stream.name}"
        self._client: mqtt.Client | None = None
        self._kept: list[_Kept] = []  # in the order they came
        self._before = 0  # messages of the stream that came before those kept
        self._trouble = ""
        self._subscribed = self._asked = False

    def read(self, position: Mapping[str, Any], limit: int) -> Batch:
        """Return what messages hold that came after `position`: at most `limit` of them, none parted.

        Raises:
            Unavailable: the broker does not answer, or went away before anything came.
            ConfigError: it refuses us, or a topic.
        """
        work, had = Work(rows=limit, now=clock.now()), int(position.get("messages", 0))
        client = self._connected(had)
        began = heard = time.monotonic()
        while self._waiting(had) < limit and time.monotonic() < min(heard + QUIET, began + SOON):
            count = len(self._kept)
            self._loop(client, 0.05)
            if len(self._kept) > count:
                heard = time.monotonic()
            if not client.is_connected():
                break
        kept = self._kept[had - self._before :][:limit]
        if not kept and not client.is_connected():
            raise self._gone()
        births = unpacked(said := position.get("births", ""))
        taken = self._reader.take([one.message for one in kept], work, births)
        said = said if births == unpacked(said) else packed(births)
        after = {"messages": had + taken} | ({"births": said} if said else {})
        return work.batch(self._conform, after, more=bool(kept))

    def stored(self, position: Mapping[str, Any]) -> None:
        """Acknowledge what the store has."""
        done = int(position["messages"]) - self._before
        client, acknowledged, self._kept = self._client, self._kept[:done], self._kept[done:]
        self._before += done
        if client is None or not client.is_connected():
            return  # it comes again, and is dropped as known
        for one in acknowledged:
            if one.qos:
                client.ack(one.mid, one.qos)
        self._flush(client)

    def rewound(self, position: Mapping[str, Any], start: datetime) -> None:
        """Return None: what was acknowledged is gone."""

    def close(self) -> None:
        """Leave the broker, which keeps the session."""
        client, self._client = self._client, None
        if client is None:
            return
        # Its answer to a question says that the broker has read the acknowledgements before it: one that
        # hears of our next connection first would forget them, and send those messages again.
        self._asked = False
        client.on_unsubscribe = self._on_answer
        client.unsubscribe(NOTHING)
        ends = time.monotonic() + ANSWER
        while not self._asked and time.monotonic() < ends and not self._loop(client, 0.05):
            pass
        client.disconnect()

    def _on_answer(self, *_: Any) -> None:
        self._asked = True

    def _waiting(self, had: int) -> int:
        """Return how many messages there are that came after the first `had` of the stream."""
        return len(self._kept) - (had - self._before)

    def _connected(self, had: int) -> mqtt.Client:
        """Return a client that is in, and subscribed; a lost connection is made anew."""
        if self._client is not None and self._client.is_connected():
            return self._client
        # those of quality of service 1 come again; others never
        self._kept = [one for one in self._kept[max(0, had - self._before) :] if not one.qos]
        self._before, self._subscribed = had, False
        client = self._made()
        port = self._url.port or PORTS[self._url.scheme]
        try:
            client.connect(str(self._url.hostname), port, KEEPALIVE, **self._session_kept())
        except (OSError, ValueError) as error:
            raise Unavailable(f"MQTT at {self._url.netloc} does not answer: {error}") from error
        self._client = client
        ends = time.monotonic() + ANSWER
        while not self._subscribed:
            if self._loop(client, 0.1) or time.monotonic() > ends:
                raise self._gone()
        return client

    def _made(self) -> mqtt.Client:
        five = self.config.version == "5"
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._session,
            clean_session=None if five else self._passing,
            protocol=mqtt.MQTTv5 if five else mqtt.MQTTv311,
            manual_ack=True,
            reconnect_on_failure=False,
        )
        client.on_connect, client.on_subscribe = self._on_connect, self._on_subscribe
        client.on_message, client.on_disconnect = self._on_message, self._on_disconnect
        if self.config.user:
            secret = self.config.password
            client.username_pw_set(resolve(self.config.user), resolve(secret) if secret else None)
        if self._url.scheme == "mqtts":
            client.tls_set_context(self._tls())
        return client

    def _session_kept(self) -> dict[str, Any]:
        if self.config.version != "5":
            return {}
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = FOREVER
        return {"clean_start": False, "properties": properties}

    def _tls(self) -> ssl.SSLContext:
        try:
            authority = self.config.authority
            context = ssl.create_default_context(cafile=str(self._base / authority) if authority else None)
            if self.config.certificate:
                key = self.config.key
                context.load_cert_chain(
                    self._base / self.config.certificate, self._base / key if key else None
                )
        except OSError as error:
            raise ConfigError(f"certificates cannot be read: {error}", key="source") from error
        return context

    def _loop(self, client: mqtt.Client, seconds: float) -> bool:
        """Let the client send and receive; say whether the connection is lost."""
        return bool(client.loop(seconds) != mqtt.MQTT_ERR_SUCCESS)

    def _flush(self, client: mqtt.Client) -> None:
        ends = time.monotonic() + ANSWER
        while client.want_write() and time.monotonic() < ends and not self._loop(client, 0.01):
            pass

    def _gone(self) -> Exception:
        if "not authorized" in self._trouble.lower() or "user name" in self._trouble.lower():
            return ConfigError(f"MQTT at {self._url.netloc} refuses us: {self._trouble}", key="source.user")
        return Unavailable(f"MQTT at {self._url.netloc} went away{self._trouble and ': '}{self._trouble}")

    def _on_connect(self, client: mqtt.Client, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            self._trouble = str(reason)
        else:
            client.subscribe([(topic, 1) for topic in self.config.topics])

    def _on_subscribe(self, _: Any, __: Any, ___: Any, reasons: Any, ____: Any) -> None:
        refused = [t for t, reason in zip(self.config.topics, reasons, strict=False) if reason.is_failure]
        if refused:
            raise ConfigError(f"the broker refuses the topics {', '.join(refused)}", key="source.topics")
        self._subscribed = True

    def _on_disconnect(self, _: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        if reason.is_failure and not self._trouble:
            self._trouble = str(reason)

    def _on_message(self, _: Any, __: Any, raw: mqtt.MQTTMessage) -> None:
        topic, payload = raw.topic, bytes(raw.payload)
        # the same bytes of the same topic are the same reject, however often the broker sends them
        digest = hashlib.blake2b(topic.encode() + b"\0" + payload, digest_size=8).digest()
        number = int.from_bytes(digest, "big") >> 1
        message = Message(topic, number, payload, self._beside(topic))
        self._kept.append(_Kept(message, raw.mid, raw.qos))

    def _beside(self, topic: str) -> dict[str, str | int | None]:
        """Return what the stream wants of a topic: `$topic`, or one of its levels, `$level.1` the first."""
        levels = topic.split("/")
        known: dict[str, str | int | None] = {"$topic": topic}
        known |= {f"$level.{n}": level for n, level in enumerate(levels, 1)}
        return {name: known.get(name) for name in self._reader.beside}
