"""Source `kafka`: topics, read by whole partitions. Position: the next offset of each partition.

The store says where to read on, whatever the broker remembers: partitions are assigned at its offsets, not
handed out by a group. After a commit the broker is told, for people who watch lag there. A read ends where
each partition ended while it ran. Messages that retention deleted before they were read leave a reject.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import clock, log
from pipeline.config.models import KafkaSource as Config
from pipeline.config.models import Stream
from pipeline.config.secrets import resolve
from pipeline.errors import ConfigError, Unavailable
from pipeline.sources.conform import Conformer
from pipeline.sources.messages import Message, MessageReader
from pipeline.sources.payloads import decoder
from pipeline.sources.rejects import Reject
from pipeline.sources.source import ASK, Batch, Source
from pipeline.sources.work import Work

try:
    import confluent_kafka as client
except ImportError:  # pragma: no cover - an extra
    raise ConfigError(
        "source.type kafka needs a client that is not installed", hint="pip install 'offbeat[kafka]'"
    ) from None

if TYPE_CHECKING:
    from confluent_kafka import Message as Raw

PIECE = 10_000  # messages asked for at once
POLL = 0.2  # seconds to wait for them
PATIENCE = 30.0  # seconds without a word from a partition that has not ended
ANSWER = 15.0  # seconds for a question about topics
SETTLED = 3.0  # seconds after which a topic that is not there is none

Part = tuple[str, int]


class KafkaSource(Source):
    """Reads the partitions of some topics."""

    def __init__(self, stream: Stream, config: Config, base: Path) -> None:
        self.config, self._trouble = config, ""
        self._conform = Conformer(stream)
        self._reader = MessageReader(self._conform, decoder(stream, base))
        self._servers = resolve(config.servers, secret=False)
        self._at: dict[Part, int] = {}  # where the consumer stands
        self._ended: set[Part] = set()  # where there was nothing more when last heard of
        self._reached: set[Part] = set()  # whose end was seen in this read, though more may have come since
        settings = {
            "client.id": "offbeat",
            "log_level": 2,  # what goes wrong is in our errors; librdkafka says it again with every try
            **config.options,
            **{name: resolve(text) for name, text in config.secrets.items()},
            "bootstrap.servers": self._servers,
            "group.id": config.group or f"offbeat.{stream.name}",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "error_cb": self._hear,
            "on_commit": _not_told,
        }
        try:
            self._consumer = client.Consumer(settings, logger=logging.getLogger("librdkafka"))
        except client.KafkaException as error:
            raise ConfigError(f"Kafka's client refuses: {_said(error)}", key="source.options") from None

    def read(self, position: Mapping[str, Any], limit: int) -> Batch:
        """Return at most `limit` messages that follow `position`.

        Raises:
            Unavailable: the brokers or the schema registry do not answer, or a partition fell silent before
                its end.
            ConfigError: there is no such topic, or the registry refuses us.
        """
        work, offsets = Work(rows=limit, now=clock.now()), _offsets(position)
        if offsets != self._at or not offsets:
            self._begin(offsets, work)
        heard = time.monotonic()
        self._reached = set()
        while not work.spent:
            raws = self._poll(min(PIECE, work.rows))
            self._take(raws, work)
            self._reached |= {part for part in self._at if self._caught_up(part)}
            if self._at_end():
                break
            if raws:
                heard = time.monotonic()
            elif time.monotonic() - heard > PATIENCE:
                if work.records or work.rejects:
                    break  # what there is, first
                raise Unavailable(f"Kafka at {self._servers} fell silent{self._trouble}")
        return work.batch(self._conform, _position(self._at), more=not self._at_end())

    def rewound(self, position: Mapping[str, Any], start: datetime) -> Mapping[str, Any]:
        """Return the offsets of the first messages that the brokers have of `start` or later.

        Raises:
            Unavailable: the brokers do not answer.
        """
        at = _offsets(position)
        since = int(start.timestamp() * 1000)
        with self._answering():
            found = self._consumer.offsets_for_times(
                [client.TopicPartition(*part, since) for part in at], timeout=ANSWER
            )
        back = {(one.topic, one.partition): one.offset for one in found if not one.error}
        # below zero: all that the partition has is older
        return _position({p: min(at[p], back[p]) if back.get(p, -1) >= 0 else at[p] for p in at})

    def behind(self, position: Mapping[str, Any]) -> int:
        """Return how many messages the brokers have after the stored offsets, or all where none is stored.

        Raises:
            Unavailable: the brokers do not answer within `ASK` seconds.
            ConfigError: there is no such topic.
        """
        at, ends, waiting = _offsets(position), time.monotonic() + ASK, 0
        with self._answering():
            topics = self._consumer.list_topics(timeout=ASK).topics
            if missing := self._missing(topics):
                raise _no_topic(missing[0], topics)
            for part in self._chosen(topics):
                low, high = self._ends(part, max(ends - time.monotonic(), 0.01))
                waiting += max(high - max(at.get(part, low), low), 0)
        return waiting

    def _ends(self, part: Part, timeout: float = ANSWER) -> tuple[int, int]:
        """Return the offsets of a partition's first message, and after its last."""
        low, high = self._consumer.get_watermark_offsets(client.TopicPartition(*part), timeout=timeout)
        return int(low), int(high)

    def stored(self, position: Mapping[str, Any]) -> None:
        """Tell the broker how far the store is."""
        told = [client.TopicPartition(*part, offset) for part, offset in _offsets(position).items()]
        try:
            self._consumer.commit(offsets=told, asynchronous=True)
        except client.KafkaException as error:
            _not_told(error.args[0], told)

    def close(self) -> None:
        """Leave the brokers."""
        self._consumer.close()

    def _at_end(self) -> bool:
        """Say whether every partition's end was seen in this read, or nothing has come since it was."""
        return self._reached | self._ended >= self._at.keys()

    def _caught_up(self, part: Part) -> bool:
        """Say whether a partition was read to where it ended when last heard of.

        The event that says so does not come while a trickle never leaves the broker without an answer.
        """
        known = self._consumer.get_watermark_offsets(client.TopicPartition(*part), cached=True)
        return known is not None and 0 <= known[1] <= self._at[part]

    def _hear(self, error: client.KafkaError) -> None:
        self._trouble = f": {error.str()}"

    def _begin(self, offsets: Mapping[Part, int], work: Work) -> None:
        """Assign all partitions: those known at their offsets, others at their beginning or as configured."""
        with self._answering():
            parts = self._partitions()
            latest = not offsets and self.config.start == "latest"
            at = {part: self._check(part, offsets.get(part), work, latest=latest) for part in parts}
            self._consumer.assign([client.TopicPartition(*part, offset) for part, offset in at.items()])
        # a partition that is gone for now keeps its offset
        self._at = dict(offsets) | at
        self._ended = set(offsets) - at.keys()

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except client.KafkaException as error:
            self._consumer.poll(0)  # hears what went wrong below
            raise Unavailable(
                f"Kafka at {self._servers} does not answer: {_said(error)}{self._trouble}"
            ) from error

    def _partitions(self) -> list[Part]:
        ends = time.monotonic() + SETTLED
        while missing := self._missing(found := self._consumer.list_topics(timeout=ANSWER).topics):
            if time.monotonic() > ends:  # a broker that has just started does not know its topics yet
                raise _no_topic(missing[0], found)
            time.sleep(POLL)
        return self._chosen(found)

    def _chosen(self, found: Mapping[str, Any]) -> list[Part]:
        chosen = {topic for topic in found if any(_names(asked, topic) for asked in self.config.topics)}
        return [(topic, part) for topic in sorted(chosen) for part in sorted(found[topic].partitions)]

    def _missing(self, found: Mapping[str, Any]) -> list[str]:
        """Return the topics that are asked for by name and are not there, or not whole."""
        return [t for t in self.config.topics if not t.startswith("^") and (t not in found or found[t].error)]

    def _check(self, part: Part, stored: int | None, work: Work, *, latest: bool) -> int:
        """Return where to begin in a partition, and say what of it was deleted before it was read."""
        low, high = self._ends(part)
        if stored is None:
            return high if latest else low
        if stored > high:
            log.get().warning("a topic was made anew", partition=_name(part), stored=stored, newest=high)
            return low
        if stored < low:
            reason = (
                f"{low - stored} messages were deleted before they were read: offsets {stored} to {low - 1}"
            )
            work.add(Reject(_name(part), stored, None, reason, b""))
        return max(stored, low)

    def _poll(self, most: int) -> list[Raw]:
        try:
            return list(self._consumer.consume(most, timeout=POLL))
        except client.KafkaException as error:
            raise Unavailable(f"Kafka at {self._servers} does not answer: {_said(error)}") from error

    def _take(self, raws: Iterable[Raw], work: Work) -> None:
        """Take messages; an event that says a partition has ended comes among them."""
        messages: list[Message] = []
        for raw in raws:
            part = (str(raw.topic()), int(raw.partition() or 0))
            if error := raw.error():
                self._event(part, raw, error)
                continue
            offset, payload = int(raw.offset() or 0), raw.value()
            self._at[part] = offset + 1
            self._ended.discard(part)
            if payload is not None:  # else a tombstone: the key was deleted, and says nothing about a machine
                messages.append(Message(_name(part), offset, payload, _beside(raw, self._reader.beside)))
        self._reader.take(messages, work)

    def _event(self, part: Part, raw: Raw, error: client.KafkaError) -> None:
        if error.code() == client.KafkaError._PARTITION_EOF:
            self._at[part] = max(self._at.get(part, 0), int(raw.offset() or 0))
            self._ended.add(part)
            self._reached.add(part)
        else:
            raise Unavailable(f"Kafka at {self._servers}: {_name(part)}: {error.str()}")


def _no_topic(topic: str, found: Mapping[str, Any]) -> ConfigError:
    known = ", ".join(sorted(found)[:12]) or "a topic"
    return ConfigError(f"no topic {topic}", key="source.topics", expected=known)


def _not_told(error: client.KafkaError | None, _: object) -> None:
    """Say that the broker does not know of a commit: lag looks larger there than it is, and nothing else."""
    if error:
        log.get().warning("the broker was not told how far was read", why=error.str())


def _names(asked: str, topic: str) -> bool:
    return bool(re.match(asked, topic)) if asked.startswith("^") else asked == topic


def _beside(raw: Raw, wanted: Sequence[str]) -> dict[str, str | int | None]:
    """Return what came beside a message: `$key`, `$topic`, `$partition`, `$timestamp`, `$header.<name>`."""
    return {name: _one(raw, name) for name in wanted}


def _one(raw: Raw, name: str) -> str | int | None:
    if name == "$key":
        return _text(raw.key())
    if name == "$topic":
        return str(raw.topic())
    if name == "$partition":
        return int(raw.partition() or 0)
    if name == "$timestamp":
        kind, ms = raw.timestamp()
        return None if kind == client.TIMESTAMP_NOT_AVAILABLE else int(ms)
    header = name.removeprefix("$header.")
    return next((_text(value) for key, value in reversed(raw.headers() or []) if key == header), None)


def _text(value: bytes | str | None) -> str | None:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _name(part: Part) -> str:
    return f"{part[0]}[{part[1]}]"


def _offsets(position: Mapping[str, Any]) -> dict[Part, int]:
    topics: Mapping[str, Mapping[str, int]] = position.get("topics", {})
    return {(topic, int(part)): offset for topic, parts in topics.items() for part, offset in parts.items()}


def _position(at: Mapping[Part, int]) -> dict[str, Any]:
    topics: dict[str, dict[str, int]] = {}
    for (topic, part), offset in sorted(at.items()):
        topics.setdefault(topic, {})[str(part)] = offset
    return {"topics": topics}


def _said(error: client.KafkaException) -> str:
    return str(error.args[0].str() if hasattr(error.args[0], "str") else error)
