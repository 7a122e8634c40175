"""A Mosquitto for tests: it keeps sessions through restarts, and queues without a limit."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from paho.mqtt import client as mqtt

from tests.services.programs import answers, free_port, program, wait_until


class Mosquitto:
    """A broker: `url` to connect to; `stop`, `kill` and `start` as often as a test likes.

    Mosquitto writes its sessions to disk when it is told to (SIGUSR1), at intervals and when it ends: `kill`
    has it write first, as a broker that loses what it acknowledged could not be made up for by anybody.
    """

    def __init__(self, folder: Path, *more: str) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._program = program("mosquitto", "/usr/sbin")
        self._process: subprocess.Popen[bytes] | None = None
        settings = [
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous true",
            "persistence true",
            f"persistence_location {folder}/",
            "autosave_interval 1",
            "autosave_on_changes true",
            "max_queued_messages 0",
            "max_inflight_messages 0",
            "user root",
            *more,
        ]
        (folder / "mosquitto.conf").write_text("\n".join(settings) + "\n")

    def start(self) -> None:
        log = self.folder / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [self._program, "-c", self.folder / "mosquitto.conf"], stdout=output, stderr=output
            )
        wait_until(lambda: answers(self.port), self._process, log)

    def kill(self) -> None:
        """End it, its sessions written."""
        if self._process:
            self._process.terminate()
            self._process.wait()

    def send(self, topic: str, payloads: Iterable[bytes | str], qos: int = 1) -> None:
        """Publish, and wait until the broker has acknowledged all."""
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        client.max_inflight_messages_set(1000)
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        for sent in [client.publish(topic, payload, qos) for payload in payloads]:
            sent.wait_for_publish(60)
        client.disconnect()
        client.loop_stop()
