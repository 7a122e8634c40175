"""What a decoder is: a payload's bytes in, objects or reasons out, before a reader makes records of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

Found = dict[str, Any]
"""One record as JSON can say it, by the names of its columns in the source."""
Memory = dict[str, Any]
"""What earlier messages said that later ones are read by: JSON, part of the source's position."""


class Unreadable(ValueError):
    """A payload is no record; the text says why, for people."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A part of a payload that is no record: its bytes, which can be read again as a payload."""

    reason: str
    raw: bytes


class Decoder(Protocol):
    """Reads the payloads of one stream."""

    def __call__(self, source: str, payload: bytes, memory: Memory) -> Iterable[Found | Unread]:
        """Return what a payload holds, perhaps nothing.

        Args:
            source: the topic, or a partition of it.
            payload: as it came.
            memory: of earlier messages; what this one says for later ones is added to it.

        Raises:
            Unreadable: all of it is no record.
            Unavailable: what it takes to read it does not answer; nothing is known about the payload.
            ConfigError: somebody has to act before any payload can be read.
        """
        ...
