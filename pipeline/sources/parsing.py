"""From a block of text to records and rejects, for any format that has one record after another.

A format gives two readings of the same lines: `quick`, vectorised, which may give up on a block; and
`careful`, which never does and names the lines it cannot read. Both lead to the same records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.sources import split
from pipeline.sources.conform import Columns, Conformer
from pipeline.sources.rejects import RAW_LIMIT, Reject
from pipeline.sources.work import Work


class Format(Protocol):
    """How lines become columns."""

    @property
    def header(self) -> str | None:
        """Names of the columns as JSON, where a line does not name them itself."""
        ...

    def ends(self, block: bytes, *, final: bool) -> split.Ends:
        """Return the offset after each whole record of a block."""
        ...

    def quick(self, block: bytes, rows: int) -> Columns | None:
        """Return the columns of a block of `rows` records, or None where it is not all plain."""
        ...

    def careful(self, lines: Sequence[bytes]) -> tuple[Columns, list[int], dict[int, str]]:
        """Return the columns of the lines that can be read, which lines these are, and why not the others."""
        ...


@dataclass(frozen=True)
class Place:
    """Where a block begins: its source, the byte offset there, and how many lines came before."""

    source: str
    offset: int
    line: int


def parse(form: Format, conform: Conformer, block: bytes, ends: split.Ends, at: Place, work: Work) -> None:
    """Turn the records of `block`, which end at `ends`, into records and rejects, added to `work`."""
    rows = np.flatnonzero(~split.blank(block, ends))
    if not len(rows):
        return
    columns = form.quick(block, len(rows))
    if columns is not None:
        found = conform(columns, len(rows), work.now)
        work.records.append(found.records)
        rows = rows[~found.good]
    if len(rows):
        _look_closer(form, conform, block, split.starts(ends)[rows], ends[rows], at, work)


def _look_closer(
    form: Format,
    conform: Conformer,
    block: bytes,
    first: split.Ends,
    ends: split.Ends,
    at: Place,
    work: Work,
) -> None:
    lines = [block[a:b].rstrip(b"\r\n") for a, b in zip(first.tolist(), ends.tolist(), strict=True)]
    columns, kept, reasons = form.careful(lines)
    found = conform(columns, len(kept), work.now)
    work.records.append(found.records)
    reasons |= {kept[row]: why for row, why in found.reasons().items()}
    breaks = split.lines(block)
    for i in sorted(reasons):
        start, raw = int(first[i]), lines[i][:RAW_LIMIT]
        line = at.line + int(np.searchsorted(breaks, start, side="right")) + 1
        header = form.header if len(raw) == len(lines[i]) else None  # a part is not to be read as a whole
        work.add(Reject(at.source, at.offset + start, line, reasons[i], raw, header))
