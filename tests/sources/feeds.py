"""Somewhere a stream's records come from, as tests see it: send rows, break it, mend it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
import yaml

from pipeline.config.models import SensorStream
from pipeline.sources import open_source
from tests.services.kafka import Broker
from tests.services.mosquitto import Mosquitto
from tests.services.postgres import Postgres
from tests.services.programs import answers, free_port, wait_until
from tests.services.s3 import S3
from tests.sources.kit import add, write

Row = dict[str, Any]
COLUMNS = ("time", "machine", "a", "b")


class Feed(ABC):
    """One source under test. Rows have a time, a machine and the channels a and b."""

    @property
    @abstractmethod
    def source(self) -> dict[str, Any]:
        """`source` of the stream's YAML."""

    @abstractmethod
    def send(self, rows: Sequence[Row]) -> None:
        """Send rows; a row may have other keys, fewer of them, or values that are no numbers."""

    REPLAYS = True  # a source opened anew can be asked for what it gave before

    def poison(self) -> list[str]:
        """Send what is no record at all; return how the reasons begin."""
        return []

    def kill(self) -> None:
        """Take the server away."""
        raise NotImplementedError("there is no server")

    def start(self) -> None:
        """Bring it back."""
        raise NotImplementedError("there is no server")

    def close(self) -> None:  # noqa: B027 - most have nothing of their own to end
        """End what belongs to this feed alone."""

    def stream(self, **source: Any) -> SensorStream:
        return SensorStream.model_validate(
            {
                "name": "pumps",
                "kind": "sensor",
                "source": {**self.source, **source},
                "fields": {"entity": "machine", "channels": [{"name": "a"}, {"name": "b"}]},
            },
            strict=False,
        )


class Files(Feed):
    def __init__(self, folder: Path) -> None:
        self.path = folder / "in" / "f.jsonl"
        write(self.path, "")

    @property
    def source(self) -> dict[str, Any]:
        return {"type": "files", "path": str(self.path.parent)}

    def send(self, rows: Sequence[Row]) -> None:
        add(self.path, "".join(json.dumps(row, default=str) + "\n" for row in rows))

    def poison(self) -> list[str]:
        add(self.path, '{"time"\n[1]\n')
        return ["not JSON", "[1] is no record"]


class Objects(Feed):
    """An object that is put again, longer, with each row that comes; every third time another begins."""

    def __init__(self, store: S3) -> None:
        self.store, self.bucket = store, store.bucket()
        self._held, self._sent = b"", 0

    @property
    def source(self) -> dict[str, Any]:
        return {"type": "files", "path": f"s3://{self.bucket}/plant", "s3": {"endpoint": self.store.url}}

    def send(self, rows: Sequence[Row]) -> None:
        self._put("".join(json.dumps(row, default=str) + "\n" for row in rows))

    def poison(self) -> list[str]:
        self._put('{"time"\n[1]\n')
        return ["not JSON", "[1] is no record"]

    def kill(self) -> None:
        self.store.kill()

    def start(self) -> None:
        self.store.start()

    def _put(self, lines: str) -> None:
        self._held = (self._held if self._sent % 3 else b"") + lines.encode()
        self.store.put(self.bucket, f"plant/{self._sent // 3:04d}/f.jsonl", self._held, kept=True)
        self._sent += 1


class Sql(Feed):
    """A table with a serial number; its other columns are text, and come as rows need them."""

    def __init__(self, url: str) -> None:
        self.url, self.name = url, f"readings_{uuid.uuid4().hex[:8]}"
        self.engine = sa.create_engine(url, poolclass=sa.NullPool)
        self.table = sa.Table(
            self.name,
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True),
            *(sa.Column(c, sa.Text) for c in COLUMNS),
        )
        self.table.create(self.engine)

    @property
    def source(self) -> dict[str, Any]:
        return {"type": "sql", "url": self.url, "table": self.name, "cursor": "id"}

    def send(self, rows: Sequence[Row]) -> None:
        with self.engine.begin() as connection:
            known = {c["name"] for c in sa.inspect(connection).get_columns(self.name)}
            for new in sorted({key for row in rows for key in row} - known):
                connection.exec_driver_sql(f"ALTER TABLE {self.name} ADD COLUMN {new} TEXT")
            for row in rows:
                cells = {key: _plain(value) for key, value in row.items()}
                columns = [sa.column(key) for key in cells]
                connection.execute(sa.insert(sa.table(self.name, *columns)).values(cells))


class SqlServer(Sql):
    def __init__(self, server: Postgres) -> None:
        super().__init__(server.url)
        self.server = server

    def kill(self) -> None:
        self.server.kill()

    def start(self) -> None:
        self.server.start()


class Kafka(Feed):
    def __init__(self, broker: Broker) -> None:
        self.broker, self.topic = broker, broker.topic()

    @property
    def source(self) -> dict[str, Any]:
        return {"type": "kafka", "servers": self.broker.servers, "topics": (self.topic,)}

    def send(self, rows: Sequence[Row]) -> None:
        self.broker.send(self.topic, [json.dumps(row, default=str) for row in rows])

    def poison(self) -> list[str]:
        self.broker.send(self.topic, [b'{"time"', b"[1]", b"\xff\xfe", b""])
        return ["not JSON", "[1] is no record", "byte 0xff", "not JSON"]

    def kill(self) -> None:
        self.broker.kill()

    def start(self) -> None:
        self.broker.start()


class Mqtt(Feed):
    REPLAYS = False

    def __init__(self, broker: Mosquitto) -> None:
        self.broker, self.topic = broker, f"plant/{uuid.uuid4().hex[:8]}/readings"
        with open_source(self.stream(), Path("/")) as source:  # from now on the broker keeps what comes
            source.read({}, 1)

    @property
    def source(self) -> dict[str, Any]:
        session = self.topic.replace("/", "-")
        return {"type": "mqtt", "url": self.broker.url, "topics": (self.topic,), "session": session}

    def send(self, rows: Sequence[Row]) -> None:
        self.broker.send(self.topic, [json.dumps(row, default=str) for row in rows])

    def poison(self) -> list[str]:
        self.broker.send(self.topic, [b'{"time"', b"[1]", b"\xff\xfe"])
        return ["not JSON", "[1] is no record", "byte 0xff"]

    def kill(self) -> None:
        self.broker.kill()

    def start(self) -> None:
        self.broker.start()


class Http(Feed):
    """What `offbeat receive` takes, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._process = folder, None
        self.port, self._http = free_port(), httpx.Client(timeout=30)
        write(folder / "configs/streams/pumps.yaml", yaml.safe_dump(self.yaml()))
        self.start()

    @property
    def source(self) -> dict[str, Any]:
        return {
            "type": "http",
            "token": "${env:FEED_TOKEN}",
            "folder": str(self.folder / "inbox"),
            "rate": 10_000,
        }

    def yaml(self) -> dict[str, Any]:
        fields = {"entity": "machine", "channels": [{"name": "a"}, {"name": "b"}]}
        return {"kind": "sensor", "source": self.source, "fields": fields}

    def start(self) -> None:
        environment = os.environ | {
            "FEED_TOKEN": "canary-5c3d",
            "OFFBEAT_PROJECT": str(self.folder),
            "OFFBEAT_HOME": str(self.folder / "home"),
            "OFFBEAT_CONFIGS": str(self.folder / "configs"),
        }
        log = self.folder / "receive.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.cli", "receive", "--port", str(self.port)],
                env=environment, cwd=Path(__file__).parents[2], stdout=output, stderr=output,
            )  # fmt: skip
        wait_until(lambda: answers(self.port), self._process, log)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        self.kill()

    def post(self, **request: Any) -> httpx.Response:
        headers = {"authorization": "Bearer canary-5c3d", **request.pop("headers", {})}
        url = f"http://127.0.0.1:{self.port}/streams/pumps"
        return self._http.post(url, headers=headers, **request)

    def send(self, rows: Sequence[Row]) -> None:
        answer = self.post(
            content=json.dumps(rows, default=str), headers={"content-type": "application/json"}
        )
        assert answer.json() == {"stored": len(rows)}, answer.text


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, str) else json.dumps(value)
