"""Ingest: from a stream's source into its observations and rejects, one commit a batch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from pipeline import log
from pipeline.sources import Source, open_source, reparse

if TYPE_CHECKING:
    from pipeline.store.observations import ObservationStore, State
    from pipeline.workspace import Workspace

LONGEST = 1800.0
BATCH_ROWS = 500_000  # bounds memory: a batch of 40 channels is some 200 MB while it is written


def ingest(work: Workspace, name: str, *, longest: float = LONGEST) -> dict[str, Any]:
    """Drain the source of stream `name`; return what was received, stored, duplicate and rejected.

    After `longest` seconds no further batch is begun: `more` then says that there may be more, for the next
    run to take. A source that is filled faster than it is read would else never let go.

    Raises Conflict where another ingest of the stream committed first: nothing was lost, run again.
    """
    stream = work.stream(name)
    with log.unit("ingest", stream=name) as line:
        store = work.observations(stream)
        before = state = store.state()
        with open_source(stream, work.home.project) as source:
            more, ends = True, time.monotonic() + longest
            while more and (state is before or time.monotonic() < ends):
                state, more = advance(source, store, state, BATCH_ROWS)
        line |= {**_difference(before, state), "more": more}
    return {"stream": name, **line}


def advance(source: Source, store: ObservationStore, before: State, limit: int) -> tuple[State, bool]:
    """Store one batch of what follows `before`; return the state after it, and whether there may be more.

    The state is `before` itself where nothing came.
    """
    batch = source.read(before.position, limit)
    after = store.append(before, batch.records, batch.rejects, batch.received, batch.position)
    if after is not before:
        source.stored(after.position)
    return after, batch.more


def reread(work: Workspace, name: str) -> dict[str, Any]:
    """Read every reject of stream `name` again under today's config, and take those that now pass."""
    stream = work.stream(name)
    with log.unit("reread", stream=name) as line:
        store = work.observations(stream)
        before, kept = store.state(), store.rejects()
        batch = reparse(stream, kept, before.position, work.home.project)
        # Stored before the rejects go: killed in between, a second reading only counts duplicates.
        # What still fails stays where it is, uncounted: it was counted when it came. A payload that can be
        # read now goes; what is wrong in it is a new reject.
        new = batch.rejects.filter(pc.invert(pc.is_in(batch.rejects["reject"], value_set=kept["reject"])))
        received = len(batch.records) + len(new)
        after = store.append(before, batch.records, new, received, before.position)
        still = set(batch.rejects["reject"].to_pylist())
        store.discard([reject for reject in kept["reject"].to_pylist() if reject not in still])
        line |= {
            **_difference(before, after),
            "passed": len(batch.records),
            "still_rejected": len(batch.rejects),
        }
    return {"stream": name, **line}


def _difference(before: State, after: State) -> dict[str, Any]:
    counts = {
        field: getattr(after.totals, field) - getattr(before.totals, field)
        for field in ("received", "stored", "duplicate", "rejected", "late", "too_late")
    }
    watermark = after.watermark.isoformat() if after.watermark else None
    return {**counts, "batches": after.batch - before.batch, "watermark": watermark}
