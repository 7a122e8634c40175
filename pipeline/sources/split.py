"""Where records end in a block of text. In: bytes that begin with a record. Out: the offset after each.

A record is a line, or several where a quoted CSV field holds a line break. What ends a record depends on
the bytes alone, never on where a block happens to be cut.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_RECORD = 1 << 20  # bytes: a quote still open after so many was never meant to open anything

Ends = NDArray[np.int64]
_QUOTE, _NEWLINE, _RETURN = b'"', b"\n", b"\r"


def lines(block: bytes) -> Ends:
    """Return the offset after each line break."""
    return np.flatnonzero(np.frombuffer(block, np.uint8) == ord(_NEWLINE)) + 1


def records(block: bytes, delimiter: bytes, *, final: bool) -> Ends:
    """Return the offset after each whole CSV record; `final` says that nothing follows the block."""
    ends = lines(block)
    if _QUOTE not in block:
        return ends
    quick = _by_parity(block, ends, delimiter, final=final)
    return quick if quick is not None else _one_by_one(block, delimiter, final=final)


def _by_parity(block: bytes, ends: Ends, delimiter: bytes, *, final: bool) -> Ends | None:
    """Line breaks outside quotes; None where quotes stand in places that make them something else."""
    data = np.frombuffer(block, np.uint8)
    quotes = np.flatnonzero(data == ord(_QUOTE))
    opening, closing = quotes[::2], quotes[1::2]
    before = data[np.maximum(opening - 1, 0)]
    after = data[np.minimum(closing + 1, len(data) - 1)]
    begins = (opening == 0) | np.isin(before, np.frombuffer(delimiter + b'\n"', np.uint8))
    finishes = (closing == len(data) - 1) | np.isin(after, np.frombuffer(delimiter + b'\r\n"', np.uint8))
    if not (begins.all() and finishes.all()):
        return None
    whole: Ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
    tail = len(block) - (whole[-1] if len(whole) else 0)
    if max(np.diff(whole, prepend=0).max(initial=0), tail) > MAX_RECORD or (final and len(quotes) % 2):
        return None
    return whole


def _one_by_one(block: bytes, delimiter: bytes, *, final: bool) -> Ends:
    found, start = [], 0
    while start < len(block):
        end = _end(block, start, delimiter)
        if end < 0 and (final or len(block) - start > MAX_RECORD):
            end = block.find(_NEWLINE, start) + 1 or -1
        if end < 0:
            break
        found.append(end)
        start = end
    return np.array(found, np.int64)


def _end(block: bytes, start: int, delimiter: bytes) -> int:
    """Return where the record at `start` ends, -1 where a quote is open or no line break follows."""
    at, line, limit = start, start - 1, start + MAX_RECORD
    while True:
        if block.startswith(_QUOTE, at):
            at = _after_quoted(block, at, limit)
            if at < 0:
                return -1
        if line < at:  # not looked for yet, or inside the quotes just passed
            line = block.find(_NEWLINE, at, limit)
            line = limit if line < 0 else line
        cell = block.find(delimiter, at, line)
        if cell < 0:
            return -1 if line == limit else line + 1
        at = cell + 1


def _after_quoted(block: bytes, at: int, limit: int) -> int:
    """Return the place after the quoted field that opens at `at`, -1 where it does not close in time."""
    close = block.find(_QUOTE, at + 1, limit)
    while close >= 0 and block.startswith(_QUOTE, close + 1):
        close = block.find(_QUOTE, close + 2, limit)
    return close + 1 or -1


def unclosed(record: bytes, delimiter: bytes) -> bool:
    """Say whether a record ends inside a quoted field."""
    return _QUOTE in record and _end(record.rstrip(b"\r\n") + _NEWLINE, 0, delimiter) < 0


def starts(ends: Ends) -> Ends:
    """Return where each record begins."""
    return np.concatenate([np.zeros(1, np.int64), ends[:-1]]) if len(ends) else ends


def blank(block: bytes, ends: Ends) -> NDArray[np.bool_]:
    """Say which records are empty lines."""
    first = starts(ends)
    size = ends - first
    single = np.frombuffer(block, np.uint8)[first] == ord(_RETURN)
    empty: NDArray[np.bool_] = (size == 1) | ((size == 2) & single)
    return empty


def only_crlf(block: bytes) -> bool:
    """Say whether every carriage return is part of a line break."""
    return _RETURN not in block or block.count(_RETURN) == block.count(b"\r\n")
