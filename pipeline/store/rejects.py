"""The rejects table: what could not be stored, raw, each once by its id."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from pipeline import schemas
from pipeline.store import delta
from pipeline.store.delta import guard

APP = "offbeat.rejects"


def add(uri: str, rows: pa.Table, batch: int) -> None:
    """Append those of `rows` whose id is not there yet; one of two runs that do so at once fails."""
    if not len(rows):
        return
    table = delta.make(uri, schemas.REJECTS, "rejects")
    rows = _once(rows)
    fresh = rows.filter(pc.invert(pc.is_in(rows["reject"], value_set=_known(table, rows))))
    if len(fresh):
        numbers = pa.repeat(pa.scalar(batch, pa.int64()), len(fresh))
        delta.append(table, fresh.append_column("batch", numbers), delta.stamp(None, APP, batch))


def read(uri: str, limit: int | None, reason: str | None) -> pa.Table:
    """Return rejects by source and position."""
    table = delta.find(uri)
    if table is None:
        return schemas.REJECTS.empty_table()
    with guard(f"reading {uri}"):
        holds = pc.match_substring(pc.field("reason"), reason) if reason else None
        found = delta.dataset(table).to_table(filter=holds)
        return found.sort_by([("source", "ascending"), ("position", "ascending")]).slice(0, limit)


def reasons(uri: str) -> dict[str, int]:
    """Return how many rejects there are by reason."""
    table = delta.find(uri)
    if table is None:
        return {}
    with guard(f"reading {uri}"):
        found = pc.value_counts(delta.dataset(table).to_table(columns=["reason"])["reason"])
    return {entry["values"]: entry["counts"] for entry in found.to_pylist()}


def discard(uri: str, ids: Sequence[str]) -> int:
    """Remove rejects by id; return how many there were."""
    table = delta.find(uri)
    if table is None or not ids:
        return 0
    with guard(f"discarding from {uri}"):
        gone = pa.table({"reject": pa.array(ids, pa.string())})
        merge = table.merge(gone, "t.reject = s.reject", source_alias="s", target_alias="t")
        return int(merge.when_matched_delete().execute()["num_target_rows_deleted"])


def _known(table: DeltaTable, rows: pa.Table) -> pa.Array:
    """Return stored ids that may be among those of `rows`: of the same sources and positions."""
    low, high = pc.min_max(rows["position"]).values()
    near = (pc.field("position") >= low) & (pc.field("position") <= high)
    sql = f"position >= {low.as_py()} AND position <= {high.as_py()}"
    of = {"source": pc.unique(rows["source"])}
    found = delta.scan(delta.dataset(table, sql, schemas.REJECTS), ["reject"], near, of)
    return found["reject"].combine_chunks()


def _once(rows: pa.Table) -> pa.Table:
    """Return the rows with each id once."""
    ids = rows["reject"].combine_chunks()
    first = pc.index_in(pc.unique(ids), value_set=ids)
    return rows if len(first) == len(rows) else rows.take(first)
