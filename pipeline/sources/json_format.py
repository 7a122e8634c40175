"""JSON Lines: an object a line. What an object leaves out is missing; keys that nobody wants are not read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.json as arrow_json

from pipeline.sources import split
from pipeline.sources.conform import Columns
from pipeline.sources.wanted import Wanted

_PIECE = 1 << 20  # bytes that Arrow's threads parse at once


class JsonFormat:
    """Reads objects into the columns a stream wants."""

    header: str | None = None

    def __init__(self, wanted: Sequence[Wanted]) -> None:
        self.wanted = wanted

    def ends(self, block: bytes, *, final: bool) -> split.Ends:
        """Return the offset after each line."""
        return split.lines(block)

    def quick(self, block: bytes, rows: int) -> Columns | None:
        """Read a block whose objects all look like its first; None where they do not."""
        kinds = self._kinds(block)
        if kinds is None or not split.only_crlf(block):
            return None
        options = arrow_json.ParseOptions(
            explicit_schema=pa.schema(kinds), unexpected_field_behavior="ignore"
        )
        # a piece holds the longest record, so that Arrow and we agree on where lines end
        size = min(len(block), _PIECE)
        try:
            table = arrow_json.read_json(
                pa.BufferReader(block), arrow_json.ReadOptions(block_size=size), options
            )
        except pa.ArrowInvalid:
            return None
        return {n: table[n].combine_chunks() for n in kinds} if table.num_rows == rows else None

    def careful(self, lines: Sequence[bytes]) -> tuple[Columns, list[int], dict[int, str]]:
        """Read objects one by one; say which lines are none."""
        cells: dict[str, list[str | None]] = {w.column: [] for w in self.wanted}
        kept, reasons = [], {}
        for i, line in enumerate(lines):
            row = self._row(line)
            if isinstance(row, str):
                reasons[i] = row
                continue
            kept.append(i)
            for name, values in cells.items():
                values.append(row[name])
        return {n: pa.array(v, pa.string()) for n, v in cells.items()}, kept, reasons

    def _kinds(self, block: bytes) -> dict[str, pa.DataType] | None:
        """Tell Arrow types from the first object: inferring them would turn text into times."""
        first = _object(block[: block.find(b"\n")])
        if isinstance(first, str):
            return None
        kinds = {w.column: _kind(w, first.get(w.column)) for w in self.wanted}
        return None if None in kinds.values() else kinds

    def _row(self, line: bytes) -> dict[str, str | None] | str:
        found = _object(line)
        if isinstance(found, str):
            return found
        row = {}
        for want in self.wanted:
            value = found.get(want.column)
            if isinstance(value, (bool, list, dict)) or (isinstance(value, str) and not _encodable(value)):
                return f"{want.column}: {_brief(value)} is no {_meant(want)}"
            row[want.column] = _text(value, want)
        return row


def _object(line: bytes) -> dict[str, Any] | str:
    """Return a line's object, or what is wrong with the line."""
    if len(line) > split.MAX_RECORD:
        return f"longer than {split.MAX_RECORD} bytes; expected one record a line"
    try:
        found = json.loads(line.decode(), object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        return f"byte {line[error.start]:#04x} at {error.start} is not UTF-8; expected UTF-8 text"
    except ValueError as error:
        return f"not JSON: {str(error)[:100]}"
    except RecursionError:
        return "not JSON that can be read: nested too deeply"
    return found if isinstance(found, dict) else f"{_brief(found)} is no record; expected a JSON object"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _kind(want: Wanted, value: Any) -> pa.DataType | None:
    """Return the Arrow type that a value of this role may be read as; None where it takes a closer look."""
    if want.role in ("number", "amount"):
        return pa.float64()
    if value is None or isinstance(value, str):
        return pa.string()
    if isinstance(value, int) and not isinstance(value, bool):
        return pa.int64()
    return pa.float64() if isinstance(value, float) and want.role == "time" else None


def _text(value: Any, want: Wanted) -> str | None:
    if isinstance(value, float) and want.textual and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return value if value is None or isinstance(value, str) else repr(value)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _meant(want: Wanted) -> str:
    names: Mapping[str, str] = {"time": "time", "number": "number", "amount": "number"}
    return names.get(want.role, "name; expected text or a whole number")


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
