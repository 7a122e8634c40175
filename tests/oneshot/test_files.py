"""Files go in and out whole, and a wrong one is told of in words."""

import gzip

import pyarrow as pa
import pytest

from pipeline.errors import DataError
from pipeline.oneshot import files


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.csv.gz"])
def test_a_table_comes_back_as_it_was_written(tmp_path, name):
    table = pa.table({"a": [1, 2, None], 'ü ,"x': [0.5, None, 2.0], "c": ["x", "y,z", "w"]})
    files.write_table(table, tmp_path / "sub" / name)
    assert files.read_table(tmp_path / "sub" / name).to_pylist() == table.to_pylist()
    assert [p.name for p in (tmp_path / "sub").iterdir()] == [name]


def test_gzip_is_gzip(tmp_path):
    files.write_table(pa.table({"a": [1]}), tmp_path / "t.csv.gz")
    assert gzip.decompress((tmp_path / "t.csv.gz").read_bytes()) == b'"a"\n1\n'


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_the_delimiter_is_seen(tmp_path, delimiter):
    (tmp_path / "t.csv").write_text(f"a{delimiter}b, c\n1{delimiter}2\n")
    assert files.read_table(tmp_path / "t.csv").column_names == ["a", "b, c"]


def test_a_type_that_later_rows_break_is_widened(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_BLOCK", 512)
    lines = [
        f"{i if i < 500 else i + 0.5},{'true' if i < 700 else 'maybe'},{'' if i < 900 else 'x'}"
        for i in range(1000)
    ]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,c", *lines]))
    table = files.read_table(tmp_path / "t.csv")
    assert [str(kind) for kind in table.schema.types] == ["double", "string", "string"]
    assert table["a"][999].as_py() == 999.5


def test_a_failed_write_leaves_what_was_there(tmp_path):
    files.write_table(pa.table({"a": [1]}), tmp_path / "t.csv")
    with pytest.raises(pa.ArrowInvalid):
        files.write_table(pa.table({"a": [[1]]}), tmp_path / "t.csv")
    assert files.read_table(tmp_path / "t.csv")["a"].to_pylist() == [1]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("pump.parquet", None, r"no such file; did you mean pumps\.parquet\?"),
        ("pump.xlsx", b"", "expected a name that ends in"),
        ("bad.parquet", b"PAR1 nonsense", "not readable as Parquet"),
        ("bad.csv", b"a,b\n1,2\n3\n", "not readable as CSV"),
        ("empty.csv", b"", "not readable as CSV"),
    ],
)
def test_a_file_that_is_none_is_told_of(tmp_path, name, content, words):
    files.write_table(pa.table({"a": [1]}), tmp_path / "pumps.parquet")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        files.read_table(tmp_path / name)
