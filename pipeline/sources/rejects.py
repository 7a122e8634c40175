"""Rejects: what could not become a record, kept with its raw bytes so that it can be read again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from pipeline.sources.source import REJECTED

RAW_LIMIT = 64 * 1024  # bytes kept of one reject: a line without end must not fill the table


@dataclass(frozen=True, slots=True)
class Reject:
    """One record that could not be taken; `position` is its byte offset or row number in `source`."""

    source: str
    position: int
    line: int | None
    reason: str
    raw: bytes
    header: str | None = None

    @property
    def id(self) -> str:
        """Stable name of source, position and raw bytes: the same reject read twice is one reject."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(f"{self.source}\0{self.position}\0".encode("utf-8", "surrogateescape"))
        digest.update(self.raw)
        return digest.hexdigest()


def table(rejects: Iterable[Reject], now: datetime) -> pa.Table:
    """Return rejects as an Arrow table of schema `REJECTED`."""
    kept = list(rejects)
    columns = {
        "reject": [r.id for r in kept],
        "source": [_printable(r.source) for r in kept],
        "position": [r.position for r in kept],
        "line": [r.line for r in kept],
        "reason": [r.reason for r in kept],
        "raw": [r.raw for r in kept],
        "rejected_at": [now] * len(kept),
        "date": [now.date()] * len(kept),
        "header": [r.header for r in kept],
    }
    return pa.Table.from_pydict(columns, schema=REJECTED)


def _printable(name: str) -> str:
    """Return a file's name as text, bytes in it that are none escaped."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
