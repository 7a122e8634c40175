"""Reading text files: CSV and JSON Lines, plain or gzip, from where the last read ended, by whole records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.sources import split
from pipeline.sources.conform import Conformer
from pipeline.sources.csv_format import BOM, CsvFormat
from pipeline.sources.json_format import JsonFormat
from pipeline.sources.marks import Entry
from pipeline.sources.parsing import Format, Place, parse
from pipeline.sources.place import Opened
from pipeline.sources.rejects import RAW_LIMIT
from pipeline.sources.text_file import TextFile
from pipeline.sources.wanted import Wanted
from pipeline.sources.work import STALE, Work

BLOCK = 8 << 20  # bytes parsed at once


@dataclass
class TextReader:
    """Takes the records of one open file, whose lines read as `form` says."""

    name: str
    text: TextFile
    form: Format
    conform: Conformer
    settled: bool
    """Whether the last line is whole even without a line break."""

    @property
    def opened(self) -> Opened:
        """The file."""
        return self.text.opened

    @property
    def packed(self) -> bool:
        """Whether it is gzip."""
        return self.text.packed

    def read(self, entry: Entry, work: Work) -> Entry:
        """Take what follows `entry`, as much as the work may still hold."""
        while not work.spent and (step := self._block(entry, work)):
            entry = step
        left = self.text.peek(1)
        if self.text.damage and not work.spent:
            return self._damaged(entry, left, work)
        return replace(entry, done=self.text.ended and not left and not self.text.damage)

    def _block(self, entry: Entry, work: Work) -> Entry | None:
        """Take one block; None where no whole record follows."""
        size = min(BLOCK, work.rows * 256)
        while True:
            block = self.text.peek(size)
            final = self.text.ended and self.settled and not self.text.damage
            ends = self.form.ends(finished(block) if final else block, final=final)[: work.rows]
            if len(ends) or self.text.ended or len(block) > split.MAX_RECORD:
                break
            size = max(2 * size, 1 << 16)
        if not len(ends):
            return self._overlong(entry, block, work) if len(block) > split.MAX_RECORD else None
        place = Place(self.name, entry.offset, entry.line)
        whole = (finished(block) if final else block)[: ends[-1]]
        parse(self.form, self.conform, whole, ends, place, work)
        return self._step(entry, block, len(whole), len(ends), work)

    def _step(self, entry: Entry, block: bytes, end: int, rows: int, work: Work) -> Entry:
        end = min(end, len(block))
        self.text.consume(end)
        work.took(rows, end)
        return replace(entry, offset=entry.offset + end, line=entry.line + block.count(b"\n", 0, end))

    def _overlong(self, entry: Entry, head: bytes, work: Work) -> Entry | None:
        """Step over a line too long to hold; None where its end is not there yet."""
        size, found = 0, -1
        while found < 0 and (ahead := self.text.peek(BLOCK)):
            found = ahead.find(b"\n")
            part = len(ahead) if found < 0 else found + 1
            self.text.consume(part)
            size += part
        if found < 0 and not (self.settled and not self.text.damage):
            return None
        reason = f"longer than {split.MAX_RECORD} bytes; expected one record a line"
        work.reject(self.name, entry.offset, entry.line + 1, reason, head[:RAW_LIMIT])
        work.took(1, size)
        return replace(entry, offset=entry.offset + size, line=entry.line + 1)

    def _damaged(self, entry: Entry, left: bytes, work: Work) -> Entry:
        """A file cut short may still be on its way; one that stays so is one reject."""
        if not work.left_alone(self.text.stat, STALE):
            return entry
        work.reject(self.name, entry.offset, entry.line + 1, f"{self.text.damage}, here", left)
        return replace(entry, done=True)


def finished(block: bytes) -> bytes:
    """Return the block with its last line ended."""
    return block if not block or block.endswith(b"\n") else block + b"\n"


def csv_form(
    text: TextFile, wanted: Sequence[Wanted], delimiter: str, *, settled: bool
) -> tuple[Format, Entry] | None:
    """Read a CSV file's header, and say where its records begin; None where the header is not whole yet."""
    head = text.peek(split.MAX_RECORD + 1)
    mark = len(BOM) if head.startswith(BOM) else 0
    final = text.ended and settled and not text.damage
    body = finished(head[mark:]) if final else head[mark:]
    ends = split.records(body, delimiter.encode(), final=final)
    line, end = _first(body, ends)
    if line and b"\r" not in line:
        at = min(mark + end, len(head))
        return CsvFormat.from_header(line, wanted, delimiter), Entry(offset=at, line=head.count(b"\n", 0, at))
    if line or text.damage or len(head) > split.MAX_RECORD:  # what there is becomes rejects that say so
        return CsvFormat((), wanted, delimiter), Entry()
    return None


def _first(body: bytes, ends: split.Ends) -> tuple[bytes, int]:
    """Return the first record that is not blank, and where it ends."""
    for first, end in zip(split.starts(ends).tolist(), ends.tolist(), strict=True):
        if (line := body[first:end].rstrip(b"\r\n")).strip():
            return line, end
    return b"", 0


def json_form(text: TextFile, wanted: Sequence[Wanted]) -> tuple[Format, Entry]:
    """Step over a byte order mark."""
    return JsonFormat(wanted), Entry(offset=len(BOM) if text.peek(len(BOM)).startswith(BOM) else 0)
