"""Source `files`: a folder that grows, of this machine or of an object store.

Position: for each file, how far it was read and a mark of what was. In: glob matches of CSV, JSON Lines and
Parquet, the first two plain or gzip. A growing file is read by whole lines; one that another took the name of
is read from its start; one that is gone is forgotten. What a writer has not finished is left alone, and
becomes one reject where nobody finishes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipeline import clock, log
from pipeline.config.models import FilesSource as Config
from pipeline.config.models import Stream
from pipeline.config.secrets import resolve
from pipeline.errors import ConfigError
from pipeline.sources.conform import Conformer
from pipeline.sources.listing import Kind, kind
from pipeline.sources.marks import Entry
from pipeline.sources.parquet_file import ParquetReader
from pipeline.sources.parsing import Format
from pipeline.sources.place import Folder, Found, Opened, Place, Stat
from pipeline.sources.source import Batch, Source
from pipeline.sources.text import TextReader, csv_form, json_form
from pipeline.sources.text_file import TextFile
from pipeline.sources.work import Work


class Reader(Protocol):
    """Takes the records of one open file, from an entry on."""

    name: str

    @property
    def opened(self) -> Opened:
        """The file."""

    @property
    def packed(self) -> bool:
        """Whether an entry's offset counts something else than bytes of the file."""

    def read(self, entry: Entry, work: Work) -> Entry:
        """Take what follows `entry`, as much as the work may still hold."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that is open still, and the entry its reader stands at."""

    name: str
    entry: Entry
    reader: Reader


class FilesSource(Source):
    """Reads the files of one stream's folder, in the order of their names."""

    unit = "bytes"

    def __init__(self, stream: Stream, config: Config, base: Path) -> None:
        self.config = config
        if not config.delimiter.isascii():
            raise ConfigError(
                "source.delimiter is not ASCII", key="source.delimiter", expected="one ASCII sign"
            )
        self._place = _place(config, base)
        self._conform = Conformer(stream)
        self._kept: Kept | None = None

    def read(self, position: Mapping[str, Any], limit: int) -> Batch:
        """Return at most `limit` rows that follow `position`.

        Raises:
            Unavailable: there is no such folder, or the store of objects does not answer.
            ConfigError: there is no such bucket, or its owner refuses.
        """
        work = Work(rows=limit, now=clock.now())
        before: Mapping[str, Any] = position.get("files", {})
        after: dict[str, Any] = {}
        for name, found in self._place.files(self.config.pattern):
            stored = before.get(name)
            if not work.spent:
                stored = self._visit(name, found, Entry.read(stored), work).stored()
            if stored:
                after[name] = stored
        return work.batch(self._conform, {"files": after}, more=work.spent)

    def close(self) -> None:
        """Close what was kept open."""
        self._drop()

    def behind(self, position: Mapping[str, Any]) -> int:
        """Return how many bytes of files are not read yet; packed files and Parquet count whole until then.

        Raises:
            Unavailable: there is no such folder.
        """
        before: Mapping[str, Any] = position.get("files", {})
        waiting = 0
        for name, found in self._place.files(self.config.pattern):
            with suppress(FileNotFoundError):
                waiting += self._unread(name, found.stat(), Entry.read(before.get(name)))
        return waiting

    def _unread(self, name: str, stat: Stat, entry: Entry) -> int:
        form = kind(name, self.config.format)
        if form is None or (entry.done and entry.untouched(stat)):
            return 0
        if form == "parquet" or name.lower().endswith(".gz"):
            return stat.size
        return stat.size - entry.offset if stat.size >= entry.offset else stat.size

    def _visit(self, name: str, found: Found, entry: Entry, work: Work) -> Entry:
        form, mark = kind(name, self.config.format), work.mark()
        try:
            stat = found.stat()
            if form is None or (entry.done and entry.untouched(stat)):
                return entry
            reader = self._resumed(name, entry, stat)
            opened = reader.opened if reader else found.open()
            with opened.guard():
                if reader:
                    after = self._take(reader, entry, work)
                else:
                    after = self._open(name, form, opened, entry, work)
                whole = work.mark() == mark or not opened.torn()
        except FileNotFoundError:
            return Entry()
        except PermissionError as error:
            log.get().warning("file not read", file=str(found), why=error.strerror)
            whole = False
        if not whole:  # the next read takes what is there then
            work.undo(mark)
            self._drop()
        return after if whole else entry

    def _resumed(self, name: str, entry: Entry, stat: Stat) -> Reader | None:
        """Hand out what was kept open of a file where it stands at `entry`: once, as a read may fail."""
        if self._kept is None or self._kept.name != name:
            return None
        kept, self._kept = self._kept, None
        if kept.entry == entry and entry.untouched(stat):
            return kept.reader
        kept.reader.opened.close()
        return None

    def _open(self, name: str, form: Kind, opened: Opened, entry: Entry, work: Work) -> Entry:
        if not entry.holds(opened):
            entry = Entry()
        if not opened.stat.size or (entry.done and entry.same(opened.stat)):  # nothing in it, or nothing new
            opened.close()
            return entry.seen(opened.stat)
        if form == "parquet":
            return self._take(ParquetReader(name, opened, self._conform), entry, work)
        return self._text(name, form, opened, entry, work)

    def _text(self, name: str, form: Kind, opened: Opened, entry: Entry, work: Work) -> Entry:
        text = TextFile(opened, packed=name.lower().endswith(".gz"))
        settled, wanted = work.left_alone(text.stat, self.config.settle), self._conform.wanted
        if form == "jsonl":
            begun: tuple[Format, Entry] | None = json_form(text, wanted)
        else:
            begun = csv_form(text, wanted, self._delimiter(name), settled=settled)
        if begun is None:
            opened.close()
            return Entry().seen(text.stat)
        entry = entry if entry.offset else begun[1]
        text.skip_to(entry.offset)
        return self._take(TextReader(name, text, begun[0], self._conform, settled), entry, work)

    def _take(self, reader: Reader, entry: Entry, work: Work) -> Entry:
        """Read on; a file that has more stays open where it is slow to come back to this place."""
        opened = reader.opened
        entry = reader.read(entry, work).seen(opened.stat)
        entry = entry.sealed(opened, opened.stat.size if reader.packed else entry.offset)
        if work.spent and not entry.done and (reader.packed or opened.remote):
            self._drop()
            self._kept = Kept(reader.name, entry, reader)
        else:
            opened.close()
        return entry

    def _drop(self) -> None:
        """Close what was kept open."""
        if self._kept:
            self._kept.reader.opened.close()
        self._kept = None

    def _delimiter(self, name: str) -> str:
        tabs = ".tsv" in Path(name).suffixes and self.config.delimiter == ","
        return "\t" if tabs else self.config.delimiter


def _place(config: Config, base: Path) -> Place:
    """Return where the files of a stream are."""
    where = resolve(config.path, secret=False)
    if "://" in where:
        from pipeline.sources.objects import Bucket

        return Bucket.of(where, config.s3)
    return Folder(base / Path(where).expanduser())
