"""Objects of an S3 store: replaced whole, listed at once, read by ranges, and never two of them as one."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from pipeline import clock
from pipeline.config.models import SensorStream
from pipeline.errors import ConfigError, Unavailable
from pipeline.sources import objects, open_source
from tests.services.s3 import S3
from tests.sources.kit import HEADER, drain, drained, sensor, write

START = datetime(2026, 1, 1, tzinfo=UTC)


class Bucket:
    def __init__(self, store: S3) -> None:
        self.store, self.name = store, store.bucket()

    def put(self, key: str, content: bytes | str, *, kept: bool = False) -> None:
        self.store.put(self.name, f"in/{key}", content, kept=kept)

    def stream(self, **source: Any) -> SensorStream:
        return sensor(Path(), **{"path": f"s3://{self.name}/in", **source})

    @contextmanager
    def asked(self) -> Iterator[list[tuple[str, int]]]:
        """Give a list that has, after the block, what was asked for in it: method and bytes answered."""
        before, asked = len(self.store.requests()), []
        yield asked
        asked += [(method, size) for method, _, size in self.store.requests()[before:]]


@pytest.fixture
def bucket(s3: S3) -> Bucket:
    return Bucket(s3)


@contextmanager
def later() -> Iterator[None]:
    """Let the clock stand when what was put now is old."""
    with clock.frozen(datetime.now(UTC) + timedelta(minutes=10)):
        yield


def row(second: int, machine: str = "p1") -> str:
    return f"2026-01-01T00:00:{second:02d}Z,{machine},{second},1\n"


def seconds(records: list[dict[str, object]]) -> list[object]:
    return [r["a"] for r in records]


def table(rows: int, columns: int = 0) -> pa.Table:
    more = {f"other{i}": pa.array([i * 1000 + j / 7 for j in range(rows)]) for i in range(columns)}
    times = pa.array([START + timedelta(seconds=i) for i in range(rows)], pa.timestamp("ms", "UTC"))
    values = {"a": pa.array(range(rows), pa.float64()), "b": pa.array([1.0] * rows)}
    return pa.table({"time": times, "machine": pa.array(["p1"] * rows), **values, **more})


def parquet(rows: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(rows, sink, **options)
    return sink.getvalue()


LINES = "".join(row(i % 60, f"p{i // 60}") for i in range(200))
OBJECTS = "".join(json.dumps({"time": 1767225600 + i, "machine": "j", "a": i}) + "\n" for i in range(100))
TREE = {
    "a.csv": (HEADER + LINES + "x,p,1,1\n").encode(),
    "b.csv.gz": gzip.compress((HEADER + LINES).encode()),
    "2026/c.jsonl": OBJECTS.encode(),
    "2026/01/d.parquet": parquet(table(300), row_group_size=64),
    "2026/01/e.tmp": b"half",
    "2026/.hidden/f.csv": (HEADER + row(1)).encode(),
    "[x]/g.csv": (HEADER + row(1)).encode(),
}
PATTERNS = (
    "**/*", "*", "*.csv", "**/*.csv*", "2026/*", "2026/**/*.parquet", "20*/01/?.parquet", "none/*", "[[]x]/*",
)  # fmt: skip


@pytest.mark.parametrize(("limit", "small"), [(90, 1 << 20), (1000, 100)])
def test_objects_are_read_as_files_are(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, small: int
) -> None:
    monkeypatch.setattr(objects, "SMALL", small)
    for name, content in TREE.items():
        bucket.put(name, content)
        write(tmp_path / name, content)
    ours, theirs = drain(bucket.stream(), limit), drain(sensor(tmp_path), limit)
    assert ours.records == theirs.records
    assert ours.rejects == theirs.rejects
    assert list(ours.position["files"]) == list(theirs.position["files"])
    with later():
        assert drain(bucket.stream(), limit, ours.position).received == 0


def test_a_pattern_chooses_objects_as_it_does_files(bucket: Bucket, tmp_path: Path) -> None:
    for name in TREE:
        bucket.put(name, HEADER)
        write(tmp_path / name, HEADER)
    for pattern in PATTERNS:
        ours = drain(bucket.stream(pattern=pattern, format="csv")).position["files"]
        theirs = drain(sensor(tmp_path, pattern=pattern, format="csv")).position["files"]
        assert list(ours) == list(theirs), pattern


def test_objects_that_are_as_they_were_cost_no_request(bucket: Bucket) -> None:
    for number in range(20):
        bucket.put(f"{number}.csv", HEADER + row(number))
    with later(), open_source(bucket.stream(), Path("/")) as source:
        read = drained(source)
        bucket.put("99.csv", HEADER + row(30))
        with bucket.asked() as asked:
            again = drained(source, position=read.position)
    assert seconds(again.rows) == [30]
    assert [method for method, _ in asked] == ["GET", "HEAD", "GET", "HEAD"], "a listing, and the new one"


def test_an_object_put_again_longer_is_read_on(bucket: Bucket) -> None:
    bucket.put("f.csv", HEADER + row(1) + row(2) + row(3)[:-4])
    read = drain(bucket.stream())
    assert seconds(read.rows) == [1, 2], "what lacks its end may be put again with it"
    bucket.put("f.csv", HEADER + "".join(row(i) for i in range(1, 6)))
    read = drain(bucket.stream(), position=read.position)
    assert seconds(read.rows) == [3, 4, 5]
    bucket.put("g.jsonl.gz", gzip.compress(OBJECTS.encode()))
    read = drain(bucket.stream(), position=read.position)
    bucket.put("g.jsonl.gz", gzip.compress(OBJECTS.encode()) + gzip.compress(OBJECTS[:200].encode()))
    assert 1 <= drain(bucket.stream(), position=read.position).received <= 5


def test_a_last_line_without_a_break_is_taken_once_the_object_is_old(bucket: Bucket) -> None:
    bucket.put("f.csv", HEADER + row(1) + row(2).strip())
    read = drain(bucket.stream())
    assert seconds(read.rows) == [1]
    with later():
        assert seconds(drain(bucket.stream(), position=read.position).rows) == [2]


@pytest.mark.parametrize("content", [row(1) + row(7) + row(3), row(5), "".join(map(row, range(4, 50)))])
def test_an_object_replaced_within_the_same_second_is_read_from_its_start(
    bucket: Bucket, content: str
) -> None:
    """Also one of the same size, with the same head and tail."""
    filling = "".join(row(i % 60, "filling") for i in range(400))
    bucket.put("f.csv", HEADER + filling + row(1) + row(2) + row(3) + filling)
    before = drain(bucket.stream())
    bucket.put("f.csv", HEADER + filling + content + filling)
    with later():
        read = drain(bucket.stream(), position=before.position)
    assert read.received == content.count("\n") + 800


def test_an_object_put_again_as_it_was_is_not_read_again(bucket: Bucket) -> None:
    bucket.put("f.csv", HEADER + row(1))
    read = drain(bucket.stream())
    bucket.put("f.csv", HEADER + row(1))
    with later(), bucket.asked() as asked:
        again = drain(bucket.stream(), position=read.position)
        assert again.received == drain(bucket.stream(), position=again.position).received == 0
    assert [method for method, _ in asked] == ["GET", "HEAD", "GET"], "a listing, its tag, a listing"


def test_an_object_that_is_gone_is_forgotten(bucket: Bucket) -> None:
    bucket.put("f.csv", HEADER + row(1))
    bucket.put("g.csv", HEADER + row(2))
    read = drain(bucket.stream())
    bucket.store.delete(bucket.name, "in/f.csv")
    assert list(drain(bucket.stream(), position=read.position).position["files"]) == ["g.csv"]


@pytest.mark.parametrize("name", ["f.csv", "f.csv.gz", "f.parquet"])
@pytest.mark.parametrize("change", ["shorter", "longer", "gone"])
def test_of_an_object_replaced_while_it_is_read_nothing_is_taken(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, name: str, change: str
) -> None:
    def content(rows: int) -> bytes:
        text = (HEADER + "".join(row(i % 60, f"p{i // 60}") for i in range(rows))).encode()
        packed = {"f.csv": text, "f.csv.gz": gzip.compress(text)}
        return packed.get(name) or parquet(table(rows))

    bucket.put(name, content(500))
    after = {"shorter": 10, "longer": 900, "gone": 0}[change]
    ask, opened = objects.Bucket.head, []

    def head(place: objects.Bucket, path: str) -> Any:
        file = ask(place, path)
        if not opened:
            opened.append(path)
            if after:
                bucket.put(name, content(after))
            else:
                bucket.store.delete(bucket.name, f"in/{name}")
        return file

    monkeypatch.setattr(objects, "SMALL", 100)
    with open_source(bucket.stream(), Path("/")) as source:
        with monkeypatch.context() as patch:
            patch.setattr(objects.Bucket, "head", head)
            try:
                first = source.read({}, 5000)
            except Unavailable:
                first = None
        assert opened
        assert first is None or first.received == 0
        read = drained(source, position=first.position if first else {})
    assert (len(read.rows), read.reasons) == (after, [])


def test_of_parquet_only_the_columns_that_are_wanted_are_fetched(bucket: Bucket) -> None:
    content = parquet(table(20_000, columns=20), row_group_size=5000)
    bucket.put("f.parquet", content)
    with later(), bucket.asked() as asked:
        assert len(drain(bucket.stream(), 1500).rows) == 20_000
    fetched = sum(size for _, size in asked)
    assert len(content) > 2 << 20
    assert fetched < len(content) / 5, "and each of them once, whatever the batch"


def test_a_large_object_is_read_once_whatever_the_batch(bucket: Bucket) -> None:
    content = HEADER + "".join(row(i % 60, f"p{i}") for i in range(60_000))
    bucket.put("f.csv", content)
    with later(), bucket.asked() as asked:
        assert len(drain(bucket.stream(), 5000).rows) == 60_000
    assert sum(size for _, size in asked) < 1.1 * len(content)


def test_a_prefix_without_objects_is_nothing_yet(bucket: Bucket) -> None:
    assert drain(bucket.stream()).received == 0


def test_a_bucket_that_is_not_there_is_told(s3: S3) -> None:
    with pytest.raises(ConfigError, match=r"source.path: http.* has no bucket none-such"):
        drain(sensor(Path(), path="s3://none-such/in"))


def test_keys_that_the_store_does_not_know_are_told(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.store.refuse(everybody=True)
    monkeypatch.setenv("WRONG", "canary-wrong-key")
    keys = {"access_key": "${env:WRONG}", "secret_key": "${env:WRONG}"}
    try:
        with pytest.raises(ConfigError, match=r"source.s3.access_key: http.* refuses") as told:
            drain(bucket.stream(s3=keys))
        assert "canary" not in str(told.value)
    finally:
        bucket.store.refuse(everybody=False)


def test_a_store_that_does_not_answer_is_worth_another_try(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "ANSWER", 1.0)
    monkeypatch.setattr(objects, "ATTEMPTS", 1)
    with pytest.raises(Unavailable, match=r"http://127.0.0.1:9 does not answer"):
        drain(bucket.stream(s3={"endpoint": "http://127.0.0.1:9"}))
    bucket.put("f.csv", HEADER + row(1))
    bucket.store.pause()
    try:
        with pytest.raises(Unavailable, match="does not answer"):
            drain(bucket.stream())
    finally:
        bucket.store.go_on()
    assert drain(bucket.stream()).received == 1


def test_an_outage_in_the_middle_of_an_old_object_makes_no_reject(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken file that is left alone for an hour is a reject; a store that is away is none."""
    monkeypatch.setattr(objects, "ATTEMPTS", 1)
    monkeypatch.setattr(objects, "SMALL", 100)
    ask = objects.Bucket.head

    def head(place: objects.Bucket, path: str) -> Any:
        file = ask(place, path)
        bucket.store.kill()
        return file

    for name in ("f.parquet", "f.csv", "f.csv.gz"):
        bucket.put(name, TREE["a.csv"] if name == "f.csv" else parquet(table(300)), kept=True)
        with clock.frozen(datetime.now(UTC) + timedelta(days=1)), monkeypatch.context() as patch:
            patch.setattr(objects.Bucket, "head", head)
            # it would be back by the time that a broken file were looked at
            patch.setattr(objects.ObjectOpened, "at", lambda *_: bucket.store.start() or b"")
            with pytest.raises(Unavailable):
                drain(bucket.stream(pattern=name))
        bucket.store.start()


def test_keys_are_read_by_reference_or_from_the_environment(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("f.csv", HEADER + row(1))
    assert drain(bucket.stream()).received == 1
    monkeypatch.setenv("AIRFLOW_CONN_PLANT", "aws://offbeat:canary-71f0@")
    monkeypatch.setenv("ENDPOINT", bucket.store.url)
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    said = {"access_key": "${connection:plant:login}", "secret_key": "${connection:plant:password}"}
    said |= {"endpoint": "${env:ENDPOINT}", "region": "us-east-1"}
    assert drain(bucket.stream(s3=said)).received == 1
    monkeypatch.setenv("WHERE", f"s3://{bucket.name}/in")
    assert drain(bucket.stream(s3=said, path="${env:WHERE}")).received == 1
    monkeypatch.setenv("WHERE", bucket.name)
    assert drain(bucket.stream(s3=said, path="s3://${env:WHERE}/in")).received == 1


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"path": "gs://bucket/in"}, "expected a folder, or objects at s3://bucket/prefix"),
        ({"path": "s3a://bucket/in"}, "expected a folder, or objects at s3://bucket/prefix"),
        ({"path": "s3://key:secret@bucket/in"}, "expected a folder, or objects at s3://bucket/prefix"),
        ({"path": "s3://bucket/in?region=x"}, "expected a folder, or objects at s3://bucket/prefix"),
        ({"path": "in", "s3": {"region": "x"}}, "`path` is a folder of this machine"),
        ({"path": "s3://bucket", "s3": {"access_key": "${env:A}"}}, "access_key needs a secret_key"),
        ({"path": "s3://bucket", "s3": {"session_token": "${env:A}"}}, "session_token needs access_key"),
    ],
)
def test_a_place_that_cannot_be_is_refused(source: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        sensor(Path(), **source)


def test_a_place_that_a_reference_leads_to_is_looked_at_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "gs://bucket/in")
    with pytest.raises(ConfigError, match=r"source.path: .*expected a folder, or s3://bucket/prefix"):
        open_source(sensor(Path(), path="${env:WHERE}"), Path("/"))
