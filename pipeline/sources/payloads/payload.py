"""What a decoder is: a payload's bytes in, objects or reasons out, before a reader makes records of them."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

Found = dict[str, Any]
"""One record as JSON can say it, by the names of its columns in the source."""
Memory = dict[str, Any]
"""What earlier messages said that later ones are read by: JSON, packed a part of the source's position."""


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


def packed(memory: Memory) -> str:
    """Return memory as text. A position is written with every commit, and names of many devices are alike."""
    return base64.b64encode(zlib.compress(json.dumps(memory).encode(), 9)).decode() if memory else ""


def unpacked(text: str) -> Memory:
    """Return what was packed, as a dict of its own."""
    return dict(_unpacked(text))


@lru_cache(maxsize=8)
def _unpacked(text: str) -> Memory:
    found: Memory = json.loads(zlib.decompress(base64.b64decode(text))) if text else {}
    return found
