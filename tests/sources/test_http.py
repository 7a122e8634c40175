"""`offbeat receive`: nobody sends unknown, nothing acknowledged is lost, and too much is asked to wait."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook
from starlette.testclient import TestClient

from pipeline import clock
from pipeline.config.models import HttpSource, SensorStream
from pipeline.receive import application
from pipeline.sources.inbox import Inbox
from tests.sources.feeds import Http
from tests.sources.kit import drain

ROW = {"time": "2026-02-01T00:00:00Z", "machine": "p1", "a": 1, "b": 2}
JSON = {"content-type": "application/json"}
LINES = {"content-type": "application/x-ndjson"}
KEY = "whsec_" + "c2VjcmV0" * 4


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEED_TOKEN", "canary-5c3d")
    monkeypatch.setenv("FEED_KEY", KEY)


def stream(folder: Path, **source: Any) -> SensorStream:
    guard = {} if "secret" in source else {"token": "${env:FEED_TOKEN}"}
    body = {
        "name": "pumps",
        "kind": "sensor",
        "source": {"type": "http", "folder": str(folder / "inbox"), **guard, **source},
        "fields": {"entity": "machine", "channels": [{"name": "a"}, {"name": "b"}]},
    }
    return SensorStream.model_validate(body, strict=False)


def client(folder: Path, **source: Any) -> TestClient:
    made = TestClient(application({"pumps": stream(folder, **source)}, folder))
    made.headers["authorization"] = "Bearer canary-5c3d"
    return made


def post(
    to: TestClient, content: bytes | str, headers: dict[str, str] = JSON, name: str = "pumps"
) -> tuple[int, Any]:
    answer = to.post(f"/streams/{name}", content=content, headers=headers)
    return answer.status_code, answer.json()


@pytest.mark.parametrize(
    ("content", "headers", "count"),
    [
        (json.dumps(ROW), JSON, 1),
        (json.dumps([ROW, ROW]), JSON, 2),
        ("[]", JSON, 0),
        (json.dumps(ROW) + "\n\n" + json.dumps(ROW), LINES, 2),
        (gzip.compress(json.dumps([ROW] * 3).encode()), {**JSON, "content-encoding": "gzip"}, 3),
        (json.dumps(ROW), {"content-type": "application/json; charset=utf-8"}, 1),
    ],
)
def test_objects_lists_lines_and_gzip_are_taken(
    tmp_path: Path, content: bytes | str, headers: dict[str, str], count: int
) -> None:
    assert post(client(tmp_path), content, headers) == (200, {"stored": count})
    assert len(drain(stream(tmp_path)).rows) == count


@pytest.mark.parametrize(
    ("content", "headers", "status", "why"),
    [
        ("{", JSON, 400, "the body is not JSON"),
        ('{"a": 1}\n{', LINES, 400, "line 2 is not JSON"),
        (
            "[1]",
            JSON,
            422,
            "record 0 is no record; expected a JSON object; nothing of this request was stored",
        ),
        (json.dumps(ROW) + "\n3", LINES, 422, "line 2 is no record"),
        ("a,b", {"content-type": "text/csv"}, 415, "content-type text/csv is not read"),
        (json.dumps(ROW), {**JSON, "content-encoding": "br"}, 415, "content-encoding br is not read"),
        (b"\x1f\x8bno", {**JSON, "content-encoding": "gzip"}, 400, "gzip"),
        (gzip.compress(b"[]")[:-9], {**JSON, "content-encoding": "gzip"}, 400, "gzip that ends too soon"),
        (" " * 2000, JSON, 413, "longer than 1024 bytes"),
        (gzip.compress(b" " * 10_000_000), {**JSON, "content-encoding": "gzip"}, 413, "longer than"),
        ("[" * 1000, JSON, 400, "not JSON"),
    ],
)
def test_what_cannot_be_read_is_refused_whole(
    tmp_path: Path, content: bytes | str, headers: dict[str, str], status: int, why: str
) -> None:
    found = post(client(tmp_path, body=1024), content, headers)
    assert found[0] == status
    assert why in found[1]["error"]
    assert not drain(stream(tmp_path)).received


def test_a_body_without_a_length_is_read_no_further_than_allowed(tmp_path: Path) -> None:
    sent = []

    def endless() -> Iterator[bytes]:
        for _ in range(1000):
            sent.append(1)
            yield b" " * 1024

    answer = client(tmp_path, body=2048).post("/streams/pumps", content=endless(), headers=JSON)
    assert answer.status_code == 413


@pytest.mark.parametrize("headers", [{"authorization": "Bearer no"}, {"authorization": ""}])
def test_without_the_token_nobody_learns_even_which_streams_there_are(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    found = [
        post(client(tmp_path), json.dumps(ROW), {**JSON, **headers}, name) for name in ("pumps", "others")
    ]
    assert found[0] == found[1] == (401, {"error": "unknown stream, or not allowed"})
    assert not drain(stream(tmp_path)).received


def test_what_is_signed_needs_no_token_and_what_is_signed_wrongly_is_not_taken(tmp_path: Path) -> None:
    to, text, now = client(tmp_path, secret="${env:FEED_KEY}"), json.dumps(ROW), datetime.now(UTC)

    def signed(key: str, said: str, at: datetime) -> dict[str, str]:
        signature = Webhook(key).sign("m1", at, said)
        stamp = str(int(at.timestamp()))
        return {**JSON, "webhook-id": "m1", "webhook-timestamp": stamp, "webhook-signature": signature}

    assert post(to, text, signed(KEY, text, now)) == (200, {"stored": 1})
    for headers in (
        JSON,
        signed(KEY, text + " ", now),
        signed("whsec_" + "b3RoZXI=" * 4, text, now),
        signed(KEY, text, now - timedelta(hours=1)),
    ):
        assert post(to, text, headers)[0] == 401
    assert len(drain(stream(tmp_path, secret="${env:FEED_KEY}")).rows) == 1


@pytest.mark.parametrize("signature", ["v1", "none", "v1,a", "v1,é", "v2,x v1", ",", "v1,a,b"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_signature_that_is_not_even_written_as_one_is_none(
    tmp_path: Path, signature: str, packed: bool
) -> None:
    """Whatever reading it raises, nothing was verified."""
    text, stamp = json.dumps(ROW).encode(), str(int(datetime.now(UTC).timestamp()))
    headers = [
        (b"content-type", b"application/json"),
        (b"webhook-id", b"m1"),
        (b"webhook-timestamp", stamp.encode()),
        (b"webhook-signature", signature.encode()),
        *([(b"content-encoding", b"gzip")] if packed else []),
    ]
    to = client(tmp_path, secret="${env:FEED_KEY}")
    answer = to.post("/streams/pumps", content=gzip.compress(text) if packed else text, headers=headers)
    assert answer.status_code == 401
    assert not drain(stream(tmp_path, secret="${env:FEED_KEY}")).received


def test_more_than_the_rate_is_asked_to_come_again(tmp_path: Path) -> None:
    to = client(tmp_path, rate=5)
    answers = [to.post("/streams/pumps", content=json.dumps(ROW), headers=JSON) for _ in range(12)]
    assert [a.status_code for a in answers[:5]] == [200] * 5
    late = [a for a in answers if a.status_code == 429]
    assert late
    assert {a.headers["retry-after"] for a in late} == {"1"}
    time.sleep(1)
    assert post(to, json.dumps(ROW))[0] == 200


def test_where_too_much_waits_senders_are_asked_to_wait_until_it_is_ingested(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox")
    inbox.append(b"x" * 1_048_576 + b"\n")
    to = client(tmp_path, waiting=1_048_576)
    answer = to.post("/streams/pumps", content=json.dumps(ROW), headers=JSON)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "30")


def test_a_full_disk_is_told_and_nothing_of_the_request_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = client(tmp_path)
    assert post(to, json.dumps(ROW))[0] == 200

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        assert post(to, json.dumps({**ROW, "a": 7})) == (503, {"error": "cannot be stored now"})
    assert post(to, json.dumps({**ROW, "a": 8}))[0] == 200
    assert [r["a"] for r in drain(stream(tmp_path)).rows] == [1, 8]


def test_files_that_were_read_and_are_over_are_deleted(tmp_path: Path) -> None:
    source = stream(tmp_path)
    assert isinstance(source.source, HttpSource)
    with clock.frozen(datetime(2026, 2, 28, tzinfo=UTC)):
        old = Inbox(tmp_path / "inbox")
        old.append(json.dumps(ROW).encode() + b"\n")
    with clock.frozen(datetime(2026, 3, 1, tzinfo=UTC)):
        Inbox(tmp_path / "inbox").append(json.dumps(ROW).encode() + b"\n")
        read = drain(source)
        assert len(read.rows) == 2
        assert len(list((tmp_path / "inbox").iterdir())) == 1
        assert not drain(source, position=read.position).received


@pytest.mark.slow
def test_what_was_acknowledged_outlives_kills_of_the_server(tmp_path: Path) -> None:
    """Eight senders, four kills: whatever was answered with 200 is there, and is there once after ingest."""
    feed, acknowledged, stop = Http(tmp_path), set(), threading.Event()

    def send(number: int) -> None:
        count = number
        while not stop.is_set():
            row = {**ROW, "time": 1_767_225_600 + count, "a": count}
            try:
                if feed.post(json=row).status_code == 200:
                    acknowledged.add(count)
                    count += 8
            except httpx.HTTPError:
                time.sleep(0.05)  # and again, as a sender does

    senders = [threading.Thread(target=send, args=(n,)) for n in range(8)]
    for sender in senders:
        sender.start()
    try:
        for _ in range(4):
            time.sleep(0.5)
            feed.kill()
            feed.start()
        time.sleep(0.5)
    finally:
        stop.set()
        for sender in senders:
            sender.join()
        feed.close()
    found = [r["a"] for r in drain(feed.stream(), limit=100_000).rows]
    assert len(acknowledged) > 100
    assert acknowledged <= set(found)
