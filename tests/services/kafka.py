"""An Apache Kafka broker for tests: one node in KRaft mode, its jars fetched by Maven once."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.services.programs import answers, free_port, program, wait_until

POM = Path(__file__).with_name("kafka-pom.xml")
JARS = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "offbeat" / "kafka-4.1.0"


def jars() -> Path:
    """Return the folder of the broker's jars, fetched where they are not there yet."""
    if not JARS.is_dir():
        part = JARS.with_name(f".{JARS.name}-{os.getpid()}")
        command = [
            program("mvn"),
            "-q",
            "-B",
            "-f",
            POM,
            "dependency:copy-dependencies",
            f"-DoutputDirectory={part}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"Maven could not fetch the broker: {done.stdout[-300:]}")
        try:
            part.rename(JARS)
        except OSError:  # another session was first
            shutil.rmtree(part)
    return JARS


class Broker:
    """One broker: `servers` to connect to; `kill` and `start` as often as a test likes, its topics stay."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, controller = folder, free_port(), free_port()
        self.servers = f"127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._java = [program("java"), "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", f"{jars()}/*"]
        self._config = folder / "server.properties"
        settings = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": folder / "data",
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
            "offsets.topic.num.partitions": 1,
            "log.retention.check.interval.ms": 1000,
            "broker.session.timeout.ms": 1500,  # a broker that was killed is let in again so soon
            "broker.heartbeat.interval.ms": 300,
            "auto.create.topics.enable": "false",
        }
        self._config.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        self._tool(
            "kafka.tools.StorageTool",
            "format",
            "--standalone",
            "-t",
            str(uuid.uuid4().hex[:22]),
            "-c",
            self._config,
        )

    def start(self) -> None:
        log = self.folder / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*self._java, "kafka.Kafka", self._config], stdout=output, stderr=output, cwd=self.folder
            )
        wait_until(self._answers, self._process, log)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def topic(self, partitions: int = 1, name: str = "", **config: str) -> str:
        """Make a topic that keeps what is sent, however old its time; return its name."""
        from confluent_kafka.admin import AdminClient, NewTopic

        name = name or f"t{uuid.uuid4().hex[:12]}"
        admin = AdminClient({"bootstrap.servers": self.servers})
        kept = {"retention.ms": "-1"} | {key.replace("_", "."): value for key, value in config.items()}
        made = NewTopic(name, partitions, 1, config=kept)
        admin.create_topics([made])[name].result(30)
        return name

    def send(
        self, topic: str, payloads: Iterable[bytes | str | None], partition: int = 0, **more: Any
    ) -> None:
        """Send messages, and wait until the broker has them."""
        from confluent_kafka import Producer

        settings: Mapping[str, Any] = {"bootstrap.servers": self.servers, "linger.ms": 5}
        producer, failed = Producer(settings, logger=logging.getLogger("producer")), []
        for payload in payloads:
            while True:
                try:
                    producer.produce(
                        topic,
                        payload,
                        partition=partition,
                        on_delivery=lambda e, _: e and failed.append(e),
                        **more,
                    )
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(60) == 0
        assert not failed, failed

    def _answers(self) -> bool:
        return answers(self.port)

    def _tool(self, name: str, *arguments: Any) -> None:
        subprocess.run([*self._java, name, *arguments], check=True, capture_output=True, cwd=self.folder)
