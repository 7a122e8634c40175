"""A schema registry for tests: Apicurio, by Confluent's protocol, in memory; fetched by Maven once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import httpx
import pytest

from tests.services.programs import free_port, program, wait_until

VERSION = "2.6.13.Final"  # 3 needs Java 21
APP = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "offbeat" / f"apicurio-{VERSION}"


def app() -> Path:
    """Return the folder of the registry's program, fetched where it is not there yet."""
    if not APP.is_dir():
        part = APP.with_name(f".{APP.name}-{os.getpid()}")
        artifact = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"
        command = [
            program("mvn"), "-q", "-B", "dependency:unpack", f"-Dartifact={artifact}",
            f"-DoutputDirectory={part}",
        ]  # fmt: skip
        with tempfile.TemporaryDirectory() as aside:  # where it leaves a mark that it was there
            done = subprocess.run(command, cwd=aside, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"Maven could not fetch the registry: {done.stdout[-300:]}")
        try:
            part.rename(APP)
        except OSError:  # another session was first
            shutil.rmtree(part)
    return APP


class Registry:
    """A registry: `url` to ask; what it knew is gone when it is killed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}/apis/ccompat/v7"
        self._process: subprocess.Popen[bytes] | None = None
        jar = app() / f"apicurio-registry-app-{VERSION}-runner.jar"
        self._command = [program("java"), "-Xmx300m", "-XX:TieredStopAtLevel=1", "-jar", str(jar)]

    def start(self) -> None:
        log = self.folder / "log"
        settings = {"QUARKUS_HTTP_HOST": "127.0.0.1", "QUARKUS_HTTP_PORT": str(self.port)}
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, env={**os.environ, **settings}, stdout=output, stderr=output, cwd=self.folder
            )
        wait_until(self._answers, self._process, log)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def add(self, subject: str, schema: str | dict, kind: str = "AVRO", references: tuple = ()) -> int:
        """Register a schema; return its number."""
        text = schema if isinstance(schema, str) else json.dumps(schema)
        body = {"schema": text, "schemaType": kind, "references": list(references)}
        answer = httpx.post(f"{self.url}/subjects/{subject}/versions", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["id"])

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/subjects", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False
