"""Delta tables: opening, making, scanning and tending them, with delta-rs's errors turned into ours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import (
    CommitFailedError,
    DeltaError,
    DeltaProtocolError,
    SchemaMismatchError,
    TableNotFoundError,
)
from pyarrow import fs

from pipeline.errors import ConfigError, Conflict, DataError, Unavailable

WRITER = WriterProperties(compression="ZSTD", compression_level=1)
KEEP_FILES = timedelta(days=7)  # of files no version refers to: longer than any reader or writer takes
LOG = {"delta.logRetentionDuration": "interval 1 days"}
"""Of commits before a checkpoint: a live stream makes some hundred thousand a day, and readers list them."""
_OUTSIDE = re.compile(
    r"no space|os error|i/o|timed? ?out|connect|refused|object store|generic (local|s3)", re.I
)
_REFUSED = re.compile(
    r"NoSuchBucket|lacked the necessary privileges|authentication credentials|40[13] (Forbidden|Unauthorized)"
)
_CODE = re.compile(r"<Code>(\w+)</Code>")


@contextmanager
def guard(doing: str) -> Iterator[None]:
    """Turn what Delta and Arrow raise into our errors; `doing` begins the message.

    Raises:
        Conflict: another run committed first.
        Unavailable: the disk or the object store fails.
        ConfigError: the object store has no such bucket, or refuses our credentials.
        DataError: the table is not what it should be.
    """
    try:
        yield
    except CommitFailedError as error:
        raise Conflict(f"{doing}: another run committed first: {error}") from error
    except (SchemaMismatchError, DeltaProtocolError) as error:
        raise DataError(f"{doing}: {error}") from error
    except (DeltaError, OSError) as error:
        said = " ".join(str(error).split())
        if _REFUSED.search(said):
            expected = (
                "a bucket and credentials, by AWS's environment variables, that may read and write there"
            )
            why = code[1] if (code := _CODE.search(said)) else said[:200]  # the rest may quote our key
            raise ConfigError(f"{doing}: {why}", key="OFFBEAT_TABLES", expected=expected) from error
        outside = isinstance(error, OSError) or _OUTSIDE.search(said)
        raise (Unavailable if outside else DataError)(f"{doing}: {error}") from error
    except pa.ArrowException as error:
        raise DataError(f"{doing}: {error}") from error


def find(uri: str) -> DeltaTable | None:
    """Open a table; None where there is none yet."""
    with guard(f"opening {uri}"):
        try:
            return DeltaTable(uri)
        except TableNotFoundError:
            return None


def make(uri: str, schema: pa.Schema, name: str) -> DeltaTable:
    """Open a table, made where there is none; of several that make it at once one does, all open it."""
    if found := find(uri):
        return found
    with guard(f"making {uri}"):
        # without retries: a second creation, tried again, would be written over the first
        once = CommitProperties(max_commit_retries=0)
        with suppress(CommitFailedError):
            DeltaTable.create(
                uri,
                schema,
                mode="ignore",
                partition_by=["date"],
                name=name,
                configuration=LOG,
                commit_properties=once,
            )
        return DeltaTable(uri)


def stamp(
    metadata: Mapping[str, str] | None = None, app: str | None = None, version: int = 0
) -> CommitProperties:
    """Return what a commit carries beside its rows; of two commits of one `app` at once, one fails."""
    transactions = [Transaction(app, version)] if app else None
    return CommitProperties(custom_metadata=dict(metadata or {}) or None, app_transactions=transactions)


def append(table: DeltaTable, rows: pa.Table, commit: CommitProperties) -> None:
    """Append rows in one commit; new columns join the table, columns that rows lack are null."""
    write_deltalake(
        table, rows, mode="append", schema_mode="merge", writer_properties=WRITER, commit_properties=commit
    )


def dataset(table: DeltaTable, pruning: str | None = None, schema: pa.Schema | None = None) -> ds.Dataset:
    """Return the table's files whose statistics fit `pruning`; columns of `schema` it lacks are null."""
    uri = table.table_uri
    local = uri.removeprefix("file://") if "://" not in uri or uri.startswith("file://") else None
    # Arrow's own local files are much faster to open than those through delta-rs
    place = fs.SubTreeFileSystem(local, fs.LocalFileSystem()) if local else None
    return table.to_pyarrow_dataset(filesystem=place, file_pruning_predicate=pruning, schema=schema)


def scan(
    found: ds.Dataset,
    columns: Sequence[str],
    where: pc.Expression | None = None,
    among: Mapping[str, pa.Array | None] | None = None,
) -> pa.Table:
    """Return the rows that `where` lets through and whose text columns hold one of the values `among`.

    Texts are compared here, not by the dataset: files that a Delta MERGE wrote say their texts are views,
    which Arrow's pruning by statistics cannot compare with plain texts.
    """
    wanted = {name: values for name, values in (among or {}).items() if values is not None}
    names = list(dict.fromkeys([*columns, *wanted]))
    parts = []
    for batch in found.to_batches(columns=names, filter=where):
        for name, values in wanted.items():
            batch = batch.filter(pc.is_in(batch[name], value_set=values))
        parts.append(batch)
    schema = pa.schema([found.schema.field(name) for name in names])
    return pa.Table.from_batches(parts, schema=schema).select(list(columns))


def between(start: datetime | None, end: datetime | None) -> tuple[str | None, pc.Expression | None]:
    """Return `start <= time < end` (aware, either may be open) as a pruning predicate and as a filter."""
    sql, filters = [], []
    for moment, sign in ((start, ">="), (end, "<")):
        if moment is not None:
            text = moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
            sql.append(f"time {sign} '{text}'")
            field, value = pc.field("time"), pa.scalar(moment, pa.timestamp("us", "UTC"))
            filters.append(field >= value if sign == ">=" else field < value)
    return " AND ".join(sql) or None, conjoin(filters)


def conjoin(filters: Sequence[pc.Expression | None]) -> pc.Expression | None:
    """Return the filters joined by AND; None where there are none."""
    joined = None
    for one in filters:
        if one is not None:
            joined = one if joined is None else joined & one
    return joined


def tend(
    table: DeltaTable, *, now: datetime, keep: timedelta, metadata: Mapping[str, str] | None = None
) -> dict[str, int]:
    """Drop days older than `keep`, make small files one, remove files nothing refers to, shorten the log.

    Each commit carries `metadata`, so that the newest commit always does.
    """
    if not LOG.items() <= table.metadata().configuration.items():  # made before there was such a limit
        table.alter.set_table_properties(LOG, commit_properties=stamp(metadata))
    oldest = (now - keep).date().isoformat()
    expired = table.delete(f"date < '{oldest}'", commit_properties=stamp(metadata))
    compacted = table.optimize.compact(writer_properties=WRITER, commit_properties=stamp(metadata))
    hours = int(KEEP_FILES.total_seconds() // 3600)
    removed = table.vacuum(hours, dry_run=False, commit_properties=stamp(metadata), full=True)
    _shorten(table, metadata or {})
    return {
        "expired_rows": int(expired.get("num_deleted_rows") or 0),
        "compacted_files": int(compacted.get("numFilesRemoved") or 0),
        "removed_files": len(removed),
    }


def _shorten(table: DeltaTable, metadata: Mapping[str, str]) -> None:
    """Write a checkpoint and remove old commits before it, unless they alone know what must be known."""
    table.update_incremental()
    (newest,) = table.history(1)
    if metadata.keys() <= newest.keys():
        table.create_checkpoint()
        table.cleanup_metadata()
