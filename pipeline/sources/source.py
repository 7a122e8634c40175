"""What every source answers to: `read(position, limit)` gives a batch, and the position after it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Self

import pyarrow as pa

from pipeline import schemas

ASK = 2.0
"""Seconds that the question how far behind a stream is may take."""

# A reject as a source hands it on: what is stored but for the batch, and the header that a bare CSV line
# needs to be read again (a JSON list of names; null where the raw bytes explain themselves).
REJECTED = pa.schema([f for f in schemas.REJECTS if f.name not in ("batch", "header")]).append(
    pa.field("header", pa.string())
)


@dataclass(frozen=True)
class Batch:
    """What one read took: `received == records.num_rows + rejects.num_rows`, always.

    `records` has `schemas.records(stream)`, `rejects` has `REJECTED`; `position` is JSON-able and goes into
    the store in the same commit; `more` says that reading again at once may give more.
    """

    records: pa.Table
    rejects: pa.Table
    received: int
    position: dict[str, Any]
    more: bool


class Source(ABC):
    """Anything records come from. Where it stands is the store's to remember, never the source's.

    Attributes:
        unit: what `behind` counts.
        keeps: what of it can be read again, where that is not all: in words, for people.
    """

    unit: ClassVar[str] = "records"
    keeps: ClassVar[str] = ""

    @abstractmethod
    def read(self, position: Mapping[str, Any], limit: int) -> Batch:
        """Return at most `limit` records and rejects that follow `position` (`{}` at the start).

        A message that holds many is not parted: there may be as many more.

        Reads only: the same position gives the same records again until the store has moved it.
        Raises Unavailable where the source does not answer.
        """

    def rewound(self, position: Mapping[str, Any], start: datetime) -> Mapping[str, Any] | None:
        """Return a position from which what is of `start` (aware) or later comes again, if the source has it.

        The source's beginning, where it knows none nearer. None: what was read cannot be read again.
        """
        return {}

    def behind(self, position: Mapping[str, Any]) -> int | None:
        """Return how much there is after `position`, in `unit`; None where that cannot be said cheaply.

        Raises Unavailable where the source does not answer within `ASK` seconds.
        """
        return None

    def stored(self, position: Mapping[str, Any]) -> None:  # noqa: B027 - most have nobody to tell
        """Hear that the store has committed `position`: a broker may be told. Raises nothing."""

    def close(self) -> None:  # noqa: B027 - most hold nothing open
        """Let go of connections. A closed source is not read again."""

    def __enter__(self) -> Self:
        """Return the source, which is closed when the block ends."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the source."""
        self.close()
