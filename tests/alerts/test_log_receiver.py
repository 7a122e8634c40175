"""The log receiver: one whole line an alert, once, on disk, however often and by how many it is sent."""

from __future__ import annotations

import json
import threading

import pytest

from pipeline.alerts.log_receiver import LogReceiver
from pipeline.errors import DeliveryFailed, DeliveryRefused


def lines(folder, stream="pump_station"):
    return [json.loads(line) for line in (folder / f"{stream}.jsonl").read_text().splitlines()]


def test_an_alert_is_a_line_of_json_a_picture_and_a_line_in_the_log(tmp_path, message, logged):
    sent = message()
    LogReceiver(tmp_path / "alerts").send(sent)
    (line,) = lines(tmp_path / "alerts")
    assert (line["key"], line["title"], line["anomaly"]) == (sent.key, sent.title, {"entity": "pump-7"})
    assert (tmp_path / "alerts" / line["picture"]).read_bytes() == sent.picture
    assert [(entry["event"], entry["log_level"]) for entry in logged] == [(sent.title, "warning")]


def test_the_same_key_is_written_once_by_whomever(tmp_path, message, logged):
    one, other = LogReceiver(tmp_path), LogReceiver(tmp_path)
    for receiver in (one, other, one, LogReceiver(tmp_path)):
        receiver.send(message())
        receiver.send(message(key="fff-resolved", event="resolved", picture=None))
    assert [line["key"] for line in lines(tmp_path)] == ["0123abcd-firing", "fff-resolved"]
    assert len(logged) == 2


def test_a_line_torn_by_a_crash_is_written_again_whole(tmp_path, message):
    receiver = LogReceiver(tmp_path)
    receiver.send(message())
    path = tmp_path / "pump_station.jsonl"
    whole = path.read_bytes()
    for cut in (1, 10, len(whole) - 1):
        path.write_bytes(whole + whole.replace(b"0123abcd", b"4567cdef")[:cut])
        LogReceiver(tmp_path).send(message(key="4567cdef-firing"))
        assert [line["key"] for line in lines(tmp_path)] == ["0123abcd-firing", "4567cdef-firing"]


def test_a_file_that_was_rotated_away_is_begun_again(tmp_path, message):
    receiver = LogReceiver(tmp_path)
    receiver.send(message())
    (tmp_path / "pump_station.jsonl").rename(tmp_path / "old")
    receiver.send(message(key="b-firing"))
    assert [line["key"] for line in lines(tmp_path)] == ["b-firing"]


def test_many_at_once_write_whole_lines_once(tmp_path, message):
    def work() -> None:
        receiver = LogReceiver(tmp_path)
        for number in range(20):
            receiver.send(message(key=f"{number}-firing", text="x" * 20_000))

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(line["key"] for line in lines(tmp_path)) == sorted(f"{n}-firing" for n in range(20))


@pytest.mark.parametrize(
    ("stream", "key"), [("../../etc/x", "k"), ("a/b", "k"), ("ok", "../k"), ("ok", "k\n"), ("", "k")]
)
def test_no_name_leads_out_of_the_folder(tmp_path, message, stream, key):
    with pytest.raises(DeliveryRefused):
        LogReceiver(tmp_path / "alerts").send(message(stream=stream, key=key))
    assert list(tmp_path.iterdir()) == []


def test_hostile_text_stays_in_its_line(tmp_path, message):
    odd = '"}\n{"key": "forged"}\r\n\x00\ud800\u2028'
    LogReceiver(tmp_path).send(message(title=odd, text=odd))
    (line,) = lines(tmp_path)
    assert line["title"] == odd


def test_a_place_that_cannot_be_written_is_a_failure(tmp_path, message):
    (tmp_path / "alerts").write_text("a file")
    with pytest.raises(DeliveryFailed):
        LogReceiver(tmp_path / "alerts").send(message())
