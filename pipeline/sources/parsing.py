"""From a block of text to records and rejects, for any format that has one record after another.

A format gives two readings of the same lines: `quick`, vectorised, which may give up on a block; and
`careful`, which never does and names the lines it cannot read. Both lead to the same records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.sources import split
from pipeline.sources.conform import Columns, Conformer
from pipeline.sources.rejects import RAW_LIMIT, Reject
from pipeline.sources.work import Work

Rows = NDArray[np.int64]


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
    begins, ends = split.starts(ends)[rows], ends[rows]
    breaks = cache(lambda: split.lines(block))

    def lines(rows: Rows) -> list[bytes]:
        places = zip(begins[rows].tolist(), ends[rows].tolist(), strict=True)
        return [block[a:b].rstrip(b"\r\n") for a, b in places]

    def reject(row: int, reason: str, text: bytes) -> Reject:
        start, raw = int(begins[row]), text[:RAW_LIMIT]
        line = at.line + int(np.searchsorted(breaks(), start, side="right")) + 1
        header = form.header if len(raw) == len(text) else None  # a part is not to be read as a whole
        return Reject(at.source, at.offset + start, line, reason, raw, header)

    take(form, conform, block, len(rows), lines, reject, work)


def take(
    form: Format,
    conform: Conformer,
    block: bytes,
    count: int,
    lines: Callable[[Rows], list[bytes]],
    reject: Callable[[int, str, bytes], Reject],
    work: Work,
) -> None:
    """Read `count` records at once, and closer those that are none, or all where they are not alike.

    Args:
        form: how they are written.
        conform: of the stream.
        block: all of them, a line each.
        count: how many there are.
        lines: returns the text of some of them, by number.
        reject: makes a reject of one: its number, what is wrong, its text.
        work: takes records and rejects.
    """
    rows: Rows = np.arange(count)
    columns = form.quick(block, count)
    if columns is not None:
        found = conform(columns, count, work.now)
        work.records.append(found.records)
        rows = rows[~found.good]
    if not len(rows):
        return
    texts = lines(rows)
    columns, kept, reasons = form.careful(texts)
    found = conform(columns, len(kept), work.now)
    work.records.append(found.records)
    reasons |= {kept[row]: why for row, why in found.reasons().items()}
    for i in sorted(reasons):
        work.add(reject(int(rows[i]), reasons[i], texts[i]))
