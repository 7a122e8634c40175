"""An S3 store for tests: moto's server, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx

from tests.services.programs import answers, free_port, wait_until

METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE")
KEYS = {"AWS_ACCESS_KEY_ID": "offbeat", "AWS_SECRET_ACCESS_KEY": "canary-71f0", "AWS_REGION": "us-east-1"}


class S3:
    """A store: `url` of its endpoint, `environment` to reach it; `kill` and `start` as often as a test likes.

    Moto keeps objects in memory. What is to be kept is written down, and put again when it starts anew: such
    objects are then as they were, their tags too, but look younger. The rest is gone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = KEYS | {"AWS_ENDPOINT_URL": self.url, "AWS_ALLOW_HTTP": "true"}
        self._log, self._done = folder / "log", folder / "requests"
        self._process: subprocess.Popen[bytes] | None = None
        self._client = self._connected()

    def start(self) -> None:
        environment = os.environ | {"MOTO_RECORDER_FILEPATH": str(self._done)}
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("s3_server.py"), str(self.port)],
                env=environment, stdout=output, stderr=output,
            )  # fmt: skip
        wait_until(lambda: answers(self.port), self._process, self._log)
        if self._done.exists():
            self._moto("recorder/replay-recording")

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Let it take connections, and answer none."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def bucket(self) -> str:
        """Make a bucket; return its name."""
        name = f"b{uuid.uuid4().hex[:12]}"
        with self._recorded():
            self._client.create_bucket(Bucket=name)
        return name

    def put(self, bucket: str, key: str, content: bytes | str, *, kept: bool = False) -> None:
        """Put an object, such that it outlives a `kill` where it is to be `kept`."""
        body = content.encode() if isinstance(content, str) else content
        recorded = self._recorded() if kept else nullcontext()
        with recorded:
            self._client.put_object(Bucket=bucket, Key=key, Body=body)

    def get(self, bucket: str, key: str) -> bytes:
        return bytes(self._client.get_object(Bucket=bucket, Key=key)["Body"].read())

    def delete(self, bucket: str, key: str) -> None:
        self._client.delete_object(Bucket=bucket, Key=key)

    def requests(self) -> list[tuple[str, str, int]]:
        """Return what was asked so far: method, path, and how many bytes were answered."""
        said = [line.split() for line in self._log.read_text(errors="replace").splitlines()]
        return [(w[0], w[1], int(w[2])) for w in said if len(w) == 3 and w[0] in METHODS]

    def refuse(self, *, everybody: bool) -> None:
        """Let nobody in whose key the store does not know, which is everybody; or let all in again."""
        httpx.post(
            f"{self.url}/moto-api/reset-auth", content=b"0" if everybody else b"inf"
        ).raise_for_status()

    def _moto(self, what: str) -> None:
        httpx.post(f"{self.url}/moto-api/{what}").raise_for_status()

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        self._moto("recorder/start-recording")
        yield
        self._moto("recorder/stop-recording")

    def _connected(self) -> Any:
        import boto3

        return boto3.client(
            "s3", endpoint_url=self.url, region_name=KEYS["AWS_REGION"],
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"], aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        )  # fmt: skip
