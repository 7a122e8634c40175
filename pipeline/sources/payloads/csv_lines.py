"""CSV, a line or many: columns are named in the stream's YAML, or by a header line that begins each payload.

A line that cannot be read costs no other. A column that a payload does not have is missing, as in JSON.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.config.models import MqttSource, Stream
from pipeline.errors import ConfigError
from pipeline.sources import split
from pipeline.sources.csv_format import BOM, CsvFormat
from pipeline.sources.numeric import NULLS
from pipeline.sources.payloads.payload import Found, Memory, Unread, Unreadable
from pipeline.sources.wanted import wanted

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)  # as JSON writes them


def decoder(stream: Stream, base: Path) -> Csv:
    """Return what reads a stream's payloads.

    Raises:
        ConfigError: the stream's fields need a column that `source.columns` does not name.
    """
    assert isinstance(stream.source, MqttSource)
    need = [w.column for w in wanted(stream) if not w.column.startswith("$")]
    columns = stream.source.columns
    if columns and (lacking := [c for c in need if c not in columns]):
        raise ConfigError(
            f"no column {lacking[0]}, which the fields need",
            key="source.columns",
            expected=", ".join(columns),
        )
    numeric = [w.column for w in wanted(stream) if w.role in ("number", "amount")]
    return Csv(columns, stream.source.delimiter, numeric)


class Csv:
    """Reads lines."""

    def __init__(self, columns: tuple[str, ...], delimiter: str, numeric: list[str]) -> None:
        self._delimiter, self._numeric = delimiter, frozenset(numeric)
        self._form = CsvFormat(columns, (), delimiter) if columns else None
        self._header, self._headed = b"", CsvFormat((), (), delimiter)  # of the payload before

    def __call__(self, source: str, payload: bytes, memory: Memory) -> Iterator[Found | Unread]:
        """Return a record or a reason for each line that is not blank."""
        lines = self._lines(payload)
        if not lines:
            raise Unreadable("is empty; expected lines of CSV")
        form, header = self._form, b""
        if form is None:
            header, lines = lines[0] + b"\n", lines[1:]
            form = self._under(header)
        for line in lines:
            cells = form.cells(line)
            if isinstance(cells, str):
                yield Unread(cells, header + line)
            else:
                yield {name: self._cell(name, cell) for name, cell in zip(form.names, cells, strict=True)}

    def _lines(self, payload: bytes) -> list[bytes]:
        """Return the records of a payload, their line breaks cut off."""
        payload = payload.removeprefix(BOM)
        if b'"' not in payload:
            lines = payload.split(b"\n")
        else:
            ends = [*split.records(payload, self._delimiter.encode(), final=True).tolist(), len(payload)]
            lines = [payload[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]
        return [line for each in lines if (line := each.rstrip(b"\r\n"))]

    def _under(self, header: bytes) -> CsvFormat:
        if header != self._header:
            form = CsvFormat.from_header(header, (), self._delimiter)
            if twice := next((n for i, n in enumerate(form.names) if n in form.names[:i]), None):
                raise Unreadable(f"{twice!r}: several columns of that name in the header; expected one")
            self._header, self._headed = header, form
        return self._headed

    def _cell(self, name: str, cell: str) -> Any:
        """Return a number as one where it must be; whatever else is left to the reader of the records."""
        if name not in self._numeric:
            return cell
        if _NUMBER.fullmatch(cell) and math.isfinite(value := float(cell)):
            return value
        return None if cell in NULLS else cell
