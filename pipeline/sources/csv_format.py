"""CSV: a header, then a record a line; quoted fields may hold delimiters, quotes and line breaks."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from functools import partial

import pyarrow as pa
import pyarrow.csv as arrow_csv

from pipeline.sources import split
from pipeline.sources.conform import Columns
from pipeline.sources.numeric import NULLS, has_nan
from pipeline.sources.wanted import Wanted

BOM = b"\xef\xbb\xbf"
_PIECE = 1 << 20  # bytes that Arrow's threads parse at once
_LONGEST_FIELD = split.MAX_RECORD + 1

csv.field_size_limit(_LONGEST_FIELD)


class CsvFormat:
    """Reads the lines that follow one header."""

    def __init__(self, names: Sequence[str], wanted: Sequence[Wanted], delimiter: str) -> None:
        self.names = tuple(names)
        self.header = json.dumps(self.names)
        self.wanted, self.delimiter = wanted, delimiter
        self.problem = _problem(self.names, wanted)
        self._places = {w.column: self.names.index(w.column) for w in wanted if w.column in self.names}

    @classmethod
    def from_header(cls, line: bytes, wanted: Sequence[Wanted], delimiter: str) -> CsvFormat:
        """Read the header line of a file."""
        text = line.removeprefix(BOM).rstrip(b"\r\n").decode("utf-8", "replace")
        return cls([name.strip() for name in _cells(text, delimiter)], wanted, delimiter)

    def ends(self, block: bytes, *, final: bool) -> split.Ends:
        """Return the offset after each whole record."""
        return split.records(block, self.delimiter.encode(), final=final)

    def quick(self, block: bytes, rows: int) -> Columns | None:
        """Read a block with numbers as numbers; None where anything in it is out of the ordinary."""
        if self.problem or not split.only_crlf(block):
            return None
        try:
            table = self._read(block, self._typed(), quoted=b'"' in block)
        except pa.ArrowInvalid:
            return None
        columns = {name: table[str(i)].combine_chunks() for name, i in self._places.items()}
        odd = table.num_rows != rows or any(map(has_nan, columns.values()))
        return None if odd else columns

    def careful(self, lines: Sequence[bytes]) -> tuple[Columns, list[int], dict[int, str]]:
        """Read lines as text; say which have the wrong number of fields, or bytes that are no text."""
        if self.problem:
            return self._empty(), [], dict.fromkeys(range(len(lines)), self.problem)
        suspects = [] if _harmless(lines) else enumerate(lines)
        reasons = {i: why for i, line in suspects if (why := self._screen(line))}
        kept = [i for i in range(len(lines)) if i not in reasons]
        columns, short = self._texts([lines[i] for i in kept])
        reasons |= {kept[i]: why for i, why in short.items()}
        return columns, [k for i, k in enumerate(kept) if i not in short], reasons

    def cells(self, line: bytes) -> list[str] | str:
        """Return the fields of one line, or what is wrong with it."""
        if wrong := self._screen(line):
            return wrong
        cells = _cells(line.decode(), self.delimiter)
        return cells if len(cells) == len(self.names) else self._count(len(cells))

    def _screen(self, line: bytes) -> str | None:
        if len(line) > split.MAX_RECORD:
            return f"longer than {split.MAX_RECORD} bytes; expected one record a line"
        if not line.isascii():
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return f"byte {line[error.start]:#04x} at {error.start} is not UTF-8; expected UTF-8 text"
        if b'"' in line and split.unclosed(line, self.delimiter.encode()):
            return 'a quoted field is never closed; expected a second "'
        if b"\r" in line and b'"' not in line:
            return r"a carriage return inside the line; expected \n or \r\n at its end"
        return None

    def _texts(self, lines: Sequence[bytes]) -> tuple[Columns, dict[int, str]]:
        if not lines:
            return self._empty(), {}
        block = b"\n".join(lines) + b"\n"
        short: list[arrow_csv.InvalidRow] = []
        note = partial(_note, short)
        try:
            table = self._read(block, self._untyped(), quoted=b'"' in block, invalid=note)
        except pa.ArrowInvalid:
            return self._by_hand(lines)
        if table.num_rows + len(short) != len(lines):
            return self._by_hand(lines)
        columns = {name: table[str(i)].combine_chunks() for name, i in self._places.items()}
        return columns, {row.number - 1: self._count(row.actual_columns) for row in short}

    def _by_hand(self, lines: Sequence[bytes]) -> tuple[Columns, dict[int, str]]:
        """One line at a time, for lines that Arrow splits in other places than we do."""
        rows, short = [], {}
        for i, line in enumerate(lines):
            cells = self.cells(line)
            if isinstance(cells, str):
                short[i] = cells
            else:
                rows.append(cells)
        texts = {n: pa.array([row[i] for row in rows], pa.string()) for n, i in self._places.items()}
        return texts, short

    def _count(self, found: int) -> str:
        return f"{found} fields; expected {len(self.names)}: {_listed(self.names)}"

    def _empty(self) -> Columns:
        return {w.column: pa.array([], pa.string()) for w in self.wanted}

    def _typed(self) -> dict[str, pa.DataType]:
        kinds = {"time": pa.string(), "number": pa.float64(), "amount": pa.float64()}
        few = pa.dictionary(pa.int32(), pa.string())
        return {
            str(self._places[w.column]): kinds.get(w.role, pa.string() if w.name == "id" else few)
            for w in self.wanted
        }

    def _untyped(self) -> dict[str, pa.DataType]:
        return {str(i): pa.string() for i in self._places.values()}

    def _read(
        self, block: bytes, kinds: dict[str, pa.DataType], *, quoted: bool, invalid: object = None
    ) -> pa.Table:
        whole = len(block) + 1  # a piece of its own keeps Arrow's row numbers right
        return arrow_csv.read_csv(
            pa.BufferReader(block),
            arrow_csv.ReadOptions(
                column_names=[str(i) for i in range(len(self.names))],
                use_threads=invalid is None,
                block_size=min(whole, _PIECE) if invalid is None else whole,
            ),
            arrow_csv.ParseOptions(
                delimiter=self.delimiter, newlines_in_values=quoted, invalid_row_handler=invalid
            ),
            arrow_csv.ConvertOptions(
                column_types=kinds,
                include_columns=list(kinds),
                null_values=list(NULLS),
                strings_can_be_null=False,
            ),
        )


def _harmless(lines: Sequence[bytes]) -> bool:
    """Say of many lines at once that none needs a look of its own."""
    block = b"".join(lines)
    short = not lines or max(map(len, lines)) <= split.MAX_RECORD
    return short and block.isascii() and b'"' not in block and b"\r" not in block


def _note(short: list[arrow_csv.InvalidRow], row: arrow_csv.InvalidRow) -> str:
    short.append(row)
    return "skip"


def _cells(text: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([text], delimiter=delimiter), [])
    except csv.Error:
        return []


def _problem(names: Sequence[str], wanted: Sequence[Wanted]) -> str | None:
    if not names:
        return "no header line that can be read; expected the names of the columns"
    for want in wanted:
        if want.column not in names:
            return f"{want.column}: no such column in the header; it has {_listed(names)}"
        if names.count(want.column) > 1:
            return (
                f"{want.column}: {names.count(want.column)} columns of that name in the header; expected one"
            )
    return None


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(n[:60] for n in names[:12])
    return f"{shown}, … ({len(names)} in all)" if len(names) > 12 else shown
