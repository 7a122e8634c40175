"""Source `files`: a folder that grows. Position: for each file, how far it was read and a mark of what was.

In: glob matches of CSV, JSON Lines and Parquet, the first two plain or gzip. A growing file is read by whole
lines; one that another took the name of is read from its start; one that is gone is forgotten. What a
writer has not finished is left alone, and becomes one reject where nobody finishes it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from pipeline import clock, log
from pipeline.config.models import FilesSource as Config
from pipeline.config.models import Stream
from pipeline.config.secrets import resolve
from pipeline.errors import ConfigError
from pipeline.sources.conform import Conformer
from pipeline.sources.listing import Kind, files, kind
from pipeline.sources.marks import Entry
from pipeline.sources.parquet_file import read_parquet
from pipeline.sources.parsing import Format
from pipeline.sources.source import Batch, Source
from pipeline.sources.text import TextReader, csv_form, json_form
from pipeline.sources.text_file import TextFile
from pipeline.sources.work import Work


class FilesSource(Source):
    """Reads the files of one stream's folder, in the order of their names."""

    unit = "bytes"

    def __init__(self, stream: Stream, config: Config, base: Path) -> None:
        self.config = config
        if not config.delimiter.isascii():
            raise ConfigError(
                "source.delimiter is not ASCII", key="source.delimiter", expected="one ASCII sign"
            )
        self.root = base / Path(resolve(config.path, secret=False)).expanduser()
        self._conform = Conformer(stream)
        self._kept: tuple[Entry, TextReader] | None = None

    def read(self, position: Mapping[str, Any], limit: int) -> Batch:
        """Return at most `limit` rows that follow `position`; Unavailable where there is no such folder."""
        work = Work(rows=limit, now=clock.now())
        before: Mapping[str, Any] = position.get("files", {})
        after: dict[str, Any] = {}
        for name, path in files(self.root, self.config.pattern):
            stored = before.get(name)
            if not work.spent:
                stored = self._visit(name, path, Entry.read(stored), work).stored()
            if stored:
                after[name] = stored
        return work.batch(self._conform, {"files": after}, more=work.spent)

    def behind(self, position: Mapping[str, Any]) -> int:
        """Return how many bytes of files are not read yet; packed files and Parquet count whole until then.

        Raises:
            Unavailable: there is no such folder.
        """
        before: Mapping[str, Any] = position.get("files", {})
        waiting = 0
        for name, path in files(self.root, self.config.pattern):
            with suppress(FileNotFoundError):
                waiting += self._unread(name, path.stat(), Entry.read(before.get(name)))
        return waiting

    def _unread(self, name: str, stat: os.stat_result, entry: Entry) -> int:
        form = kind(name, self.config.format)
        if form is None or (entry.done and entry.untouched(stat)):
            return 0
        if form == "parquet" or name.lower().endswith(".gz"):
            return stat.st_size
        return stat.st_size - entry.offset if stat.st_size >= entry.offset else stat.st_size

    def _visit(self, name: str, path: Path, entry: Entry, work: Work) -> Entry:
        form = kind(name, self.config.format)
        try:
            stat = path.stat()
            if form is None or (entry.done and entry.untouched(stat)):
                return entry
            if self._kept and self._kept[0] == entry and entry.untouched(stat):
                return self._take(self._kept[1], entry, work)
            return self._open(name, form, path.open("rb"), entry, work)
        except FileNotFoundError:
            return Entry()
        except PermissionError as error:
            log.get().warning("file not read", file=str(path), why=error.strerror)
            return entry

    def _open(self, name: str, form: Kind, file: BinaryIO, entry: Entry, work: Work) -> Entry:
        """Read one file from where it was left, or from its start where it is another file by now."""
        stat = os.fstat(file.fileno())
        if not entry.holds(file, stat.st_size):
            entry = Entry()
        if not stat.st_size:  # nothing in it yet
            file.close()
            return entry.seen(stat)
        if form != "parquet":
            return self._text(name, form, file, entry, work)
        with file:
            return read_parquet(name, file, self._conform, entry, work).seen(stat).sealed(file, stat.st_size)

    def _text(self, name: str, form: Kind, file: BinaryIO, entry: Entry, work: Work) -> Entry:
        text = TextFile(file, packed=name.lower().endswith(".gz"))
        settled, wanted = work.left_alone(text.stat, self.config.settle), self._conform.wanted
        if form == "jsonl":
            begun: tuple[Format, Entry] | None = json_form(text, wanted)
        else:
            begun = csv_form(text, wanted, self._delimiter(name), settled=settled)
        if begun is None:
            with file:
                return Entry().seen(text.stat)
        entry = entry if entry.offset else begun[1]
        text.skip_to(entry.offset)
        return self._take(TextReader(name, text, begun[0], self._conform, settled), entry, work)

    def _take(self, reader: TextReader, entry: Entry, work: Work) -> Entry:
        """Read on; a packed file that has more stays open, for unpacking it again up to here is slow."""
        text = reader.text
        entry = reader.read(entry, work).seen(text.stat)
        entry = entry.sealed(text.file, text.stat.st_size if text.packed else entry.offset)
        self._kept = (entry, reader) if text.packed and work.spent and not entry.done else None
        if self._kept is None:
            text.file.close()
        return entry

    def _delimiter(self, name: str) -> str:
        tabs = ".tsv" in Path(name).suffixes and self.config.delimiter == ","
        return "\t" if tabs else self.config.delimiter
