"""SIGKILL at random: no alert lost, none under a new key, at most one repeat per kill and receiver."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import sqlalchemy as sa

import pipeline
from pipeline.store.database import deliveries, open_database, outbox, reading

KILLS = int(os.environ.get("OFFBEAT_KILLS", "50"))


def test_killed_at_random_nothing_is_lost_and_every_repeat_carries_its_key(tmp_path, hooks, secret):
    def slowly(handler):  # as a real receiver would, so that kills also hit requests under way
        time.sleep(0.004)
        handler.send_response(204)
        handler.send_header("content-length", "0")
        handler.end_headers()

    hooks.behave["/hook"] = slowly
    script = str(Path(__file__).with_name("deliver_forever.py"))
    command = [sys.executable, script, str(tmp_path), hooks.url("/hook"), secret, str(KILLS)]
    environment = os.environ | {"PYTHONPATH": str(Path(pipeline.__file__).parents[1])}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60 + 5 * KILLS, check=False
    )
    assert done.returncode == 0, done.stderr
    count = int(done.stdout)
    assert count >= min(KILLS, 10), "the kills have to hit work"

    engine = open_database(f"sqlite:///{tmp_path}/offbeat.db")
    with reading(engine) as connection:
        wanted = set(connection.execute(sa.select(outbox.c.key)).scalars())
        states = set(connection.execute(sa.select(deliveries.c.state)).scalars())
    print(f"{count} anomalies, {len(hooks.posts) - len(wanted)} repeats")
    got = [post.key for post in hooks.posts]
    assert len(wanted) == 2 * count
    assert states == {"delivered"}
    assert set(got) == wanted, "0 lost, 0 new keys"
    assert len(got) - len(wanted) <= KILLS, "at most one repeat per kill"
    assert max(Counter(got).values()) <= KILLS

    first = {key: number for number, key in reversed(list(enumerate(got)))}
    for key in wanted:
        if key.endswith("-resolved"):
            assert first[key.replace("-resolved", "-firing")] < first[key]

    lines = (tmp_path / "alerts" / "pumps.jsonl").read_text().splitlines()
    assert Counter(json.loads(line)["key"] for line in lines) == Counter(wanted), (
        "the file: each exactly once"
    )
