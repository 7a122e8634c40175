"""Messages of a broker: a JSON object each, and what came beside it (key, topic, time) as columns of its own.

What comes beside the payload has a name that begins with `$`, such as `$key`, and is written into the object
where the stream wants it: records, rejects and rejects read again then go one way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.sources import parsing
from pipeline.sources.conform import Conformer
from pipeline.sources.json_format import JsonFormat
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

    def __init__(self, conform: Conformer) -> None:
        self._conform, self._form = conform, JsonFormat(conform.wanted)
        self.beside = [w.column for w in conform.wanted if w.column.startswith(BESIDE)]

    def take(self, messages: Sequence[Message], work: Work) -> None:
        """Add what messages hold to `work`."""
        if not messages:
            return
        texts = [_text(message) for message in messages]
        block = b"\n".join(text.translate(_BREAKS) for text in texts) + b"\n"

        def reject(row: int, reason: str, text: bytes) -> Reject:
            return Reject(messages[row].source, messages[row].position, None, reason, text[:RAW_LIMIT])

        parsing.take(
            self._form, self._conform, block, len(texts), lambda rows: [texts[i] for i in rows], reject, work
        )
        work.took(len(texts), len(block))


def _text(message: Message) -> bytes:
    """Return the payload, with what came beside it written at its beginning."""
    text = message.payload.strip()
    if not message.beside or not text.startswith(b"{"):
        return text
    rest = text[1:].lstrip()
    return json.dumps(message.beside).encode()[:-1] + (b"," if rest != b"}" else b"") + rest
