"""Messages of a broker: records, and what came beside each (key, topic, time) as columns of its own.

A payload is a JSON object, or a decoder makes objects of it. What comes beside it has a name that begins with
`$`, such as `$key`, and is written into the object where the stream wants it: records, rejects and rejects
read again then go one way. A payload that is no object is rejected as it came, and what came beside it is the
reject's header, so that both can be read again by another decoder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.sources import parsing
from pipeline.sources.conform import Conformer
from pipeline.sources.json_format import JsonFormat
from pipeline.sources.payloads import Decoder, Found, Memory, Unread, Unreadable
from pipeline.sources.rejects import RAW_LIMIT, Reject
from pipeline.sources.work import Work

BESIDE = "$"
# outside of strings, where alone they may stand, breaks mean as little as spaces
_BREAKS = bytes.maketrans(b"\r\n", b"  ")


@dataclass(frozen=True, slots=True)
class Message:
    """One message: `position` is its number in `source`, a partition of a topic."""

    source: str
    position: int
    payload: bytes
    beside: Mapping[str, str | int | None]
    """What came with it, of what the reader says it wants `beside`."""


class MessageReader:
    """Turns messages into records of one stream."""

    def __init__(self, conform: Conformer, decode: Decoder | None = None) -> None:
        self._conform, self._form, self._decode = conform, JsonFormat(conform.wanted), decode
        self.beside = [w.column for w in conform.wanted if w.column.startswith(BESIDE)]

    def take(self, messages: Sequence[Message], work: Work, memory: Memory | None = None) -> int:
        """Add what messages hold to `work`; return how many of them were taken.

        All, but where messages hold many records each: none is begun that finds `work` full, and none parted.
        What they say for messages after them is added to `memory`.
        """
        if self._decode is None:
            self._read([_text(message) for message in messages], messages, work)
            return len(messages)
        texts: list[bytes] = []
        origins: list[Message] = []
        taken, known = 0, {} if memory is None else memory
        for message in messages:
            if len(texts) >= work.rows:
                break
            for found in self._found(self._decode, message, known):
                if isinstance(found, Unread):
                    work.add(_unread(message, found.reason, found.raw))
                    work.took(1, len(found.raw))
                else:
                    texts.append(json.dumps({**message.beside, **found}).encode())
                    origins.append(message)
            taken += 1
        self._read(texts, origins, work)
        return taken

    def _found(self, decode: Decoder, message: Message, memory: Memory) -> Iterable[Found | Unread]:
        try:
            yield from decode(message.source, message.payload, memory)
        except Unreadable as error:
            yield Unread(str(error), message.payload)

    def _read(self, texts: Sequence[bytes], origins: Sequence[Message], work: Work) -> None:
        """Read JSON objects, each from a message."""
        if not texts:
            return
        block = b"\n".join(text.translate(_BREAKS) for text in texts) + b"\n"

        def reject(row: int, reason: str, text: bytes) -> Reject:
            origin = origins[row]
            if not text.startswith(b"{"):
                return _unread(origin, reason, origin.payload)
            return Reject(origin.source, origin.position, None, reason, text[:RAW_LIMIT])

        parsing.take(
            self._form, self._conform, block, len(texts), lambda rows: [texts[i] for i in rows], reject, work
        )
        work.took(len(texts), len(block))


def _unread(message: Message, reason: str, raw: bytes) -> Reject:
    """Return the reject of a payload, or of a part that can be read as one, which no cut one can."""
    header = json.dumps(message.beside) if len(raw) <= RAW_LIMIT else None
    return Reject(message.source, message.position, None, reason, raw[:RAW_LIMIT], header)


def _text(message: Message) -> bytes:
    """Return the payload, with what came beside it written at its beginning."""
    text = message.payload.strip()
    if not message.beside or not text.startswith(b"{"):
        return text
    rest = text[1:].lstrip()
    return json.dumps(message.beside).encode()[:-1] + (b"," if rest != b"}" else b"") + rest
