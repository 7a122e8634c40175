"""Ingest a stream, killed at every third call to its source or its tables; then to its end.

Usage: killed_reading.py STREAM.json TABLES RECEIVED STORED DUPLICATE REJECTED. Each kill has tables of its
own below TABLES, a folder or a URL. Prints the number of kills.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from pipeline import clock
from pipeline.config.models import Stream, parse_stream
from pipeline.sources import open_source
from pipeline.steps.ingest import advance
from pipeline.store.observations import ObservationStore
from tests.sources.kit import NOW
from tests.store.killed_ingest import PATCHED, die_at, ended, forked

LIMIT = 70


def ingest(stream: Stream, tables: str, doom: int = 0) -> None:
    store = ObservationStore(stream, f"{tables}/observations", f"{tables}/rejects")
    with clock.frozen(NOW), open_source(stream, Path("/")) as source:
        if doom:
            die_at(doom, [*PATCHED, (source, "read"), (source, "stored")])
        state, more = store.state(), True
        while more:
            state, more = advance(source, store, state, LIMIT)


def check(stream: Stream, tables: str, expected: tuple[int, ...]) -> None:
    store = ObservationStore(stream, f"{tables}/observations", f"{tables}/rejects")
    totals = store.state().totals
    assert (totals.received, totals.stored, totals.duplicate, totals.rejected) == expected, totals
    assert len(store.read()) == expected[1]
    assert len(store.rejects()) == expected[3]


def main() -> int:
    stream, expected = parse_stream(Path(sys.argv[1]).read_text()), tuple(map(int, sys.argv[3:7]))
    call, kills = 1, 0
    while ended(forked(partial(ingest, stream, tables := f"{sys.argv[2]}/{call}", call))):
        ended(forked(partial(ingest, stream, tables)))
        ended(forked(partial(check, stream, tables, expected)))
        call, kills = call + 3, kills + 1  # of three calls one: before, within, after in turn
    return kills


if __name__ == "__main__":
    print(main())
