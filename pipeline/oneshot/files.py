"""Tables from files and into files, by suffix: Parquet, CSV, CSV in gzip.

In: a path. Out: an Arrow table, or a file. Nothing of a half-written file is left behind.
"""

from __future__ import annotations

import csv
import difflib
import re
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from pipeline.errors import DataError

_SUFFIXES = (".parquet", ".csv", ".csv.gz")
_DELIMITERS = ",;\t|"
_BLOCK = 16 << 20
_WIDER = {"int64": pa.float64(), "bool": pa.string(), "null": pa.string()}
_COLUMN = re.compile(r"In CSV column #(\d+)(?:.*?)CSV conversion error to ([a-z0-9]+)", re.S)


def read_table(path: Path) -> pa.Table:
    """Read a table.

    Raises:
        DataError: there is no such file, or it is not what its name says.
    """
    check_name(path, "INPUT")
    if not path.is_file():
        raise DataError(f"{path}: no such file{_near(path)}")
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path)
        return _read_csv(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        kind = "Parquet" if path.suffix == ".parquet" else "CSV"
        raise DataError(f"{path}: not readable as {kind}: {str(error).strip()}") from None


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table, all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".offbeat-") as folder:
        made = Path(folder) / path.name
        if path.suffix == ".parquet":
            pq.write_table(table, made, compression="zstd")
        else:
            with pa.output_stream(made) as stream:  # packs where the name ends in .gz
                arrow_csv.write_csv(table, stream)
        made.replace(path)


def check_name(path: Path, role: str) -> None:
    """Refuse a file whose name says nothing of its format that we know."""
    if not path.name.endswith(_SUFFIXES):
        raise DataError(f"{role}: {path.name}: expected a name that ends in {', '.join(_SUFFIXES)}")


def _read_csv(path: Path) -> pa.Table:
    """Read a CSV; a column whose later rows break the type that its first rows promise gets a wider one."""
    parse = arrow_csv.ParseOptions(delimiter=_delimiter(path))
    kinds: dict[str, pa.DataType] = {}
    while True:
        try:
            return arrow_csv.read_csv(
                path,
                read_options=arrow_csv.ReadOptions(block_size=_BLOCK),
                parse_options=parse,
                convert_options=arrow_csv.ConvertOptions(column_types=kinds),
            )
        except pa.ArrowInvalid as error:
            found = _COLUMN.search(str(error))
            name = _names(path, parse)[int(found[1])] if found else None
            if found is None or name is None or kinds.get(name) == pa.string():
                raise
            kinds[name] = pa.string() if name in kinds else _WIDER.get(found[2], pa.string())


def _delimiter(path: Path) -> str:
    """Return what the header is cut by: what the first line has most of, and the second as often."""
    with pa.input_stream(path) as stream:
        lines = [*stream.read(65_536).decode(errors="replace").split("\n"), ""][:2]
    head, row = ({d: len(next(csv.reader([line], delimiter=d), ())) for d in _DELIMITERS} for line in lines)
    return max(_DELIMITERS, key=lambda one: (head[one] == row[one], head[one]))


def _names(path: Path, parse: arrow_csv.ParseOptions) -> list[str]:
    with arrow_csv.open_csv(path, parse_options=parse) as reader:
        return list(reader.schema.names)


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f"; there is no folder {path.parent}"
    others = [p.name for p in path.parent.iterdir() if p.name.endswith(_SUFFIXES)]
    near = difflib.get_close_matches(path.name, others, n=1)
    return f"; did you mean {near[0]}?" if near else ""
