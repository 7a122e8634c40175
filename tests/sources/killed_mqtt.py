"""Ingest what a broker keeps, killed again and again; then to its end. Prints how many kills hit.

Usage: killed_mqtt.py STREAM.json TABLES PORT TOPIC KILLS EACH: before each kill EACH readings are sent. The
first kill is at the first call to the source or the tables, the next at the second, and so on.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

from paho.mqtt import client as mqtt

from pipeline.config.models import parse_stream
from tests.sources.killed_reading import ingest
from tests.store.killed_ingest import ended, forked


def send(port: int, topic: str, first: int, count: int) -> None:
    """Publish readings a second apart; the fifth of every ten is none."""
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.max_inflight_messages_set(1000)
    client.connect("127.0.0.1", port)
    client.loop_start()
    rows = [
        {"time": 1_767_225_600 + i, "machine": "p1", "a": "warm" if i % 10 == 5 else i, "b": 0}
        for i in range(first, first + count)
    ]
    for sent in [client.publish(topic, json.dumps(row), 1) for row in rows]:
        sent.wait_for_publish(60)
    client.disconnect()
    client.loop_stop()


def main() -> int:
    stream, tables = parse_stream(Path(sys.argv[1]).read_text()), sys.argv[2]
    port, topic, kills, each = int(sys.argv[3]), sys.argv[4], int(sys.argv[5]), int(sys.argv[6])
    hits, call = 0, 1
    for trial in range(kills):
        ended(forked(partial(send, port, topic, trial * each, each)))
        hit = ended(forked(partial(ingest, stream, tables, call)))
        hits += hit
        call = call + 1 if hit else 1
    ended(forked(partial(ingest, stream, tables)))
    return hits


if __name__ == "__main__":
    print(main())
