"""Server programs that tests run for themselves: found where they are installed, else the test is skipped."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import pytest


def program(name: str, *folders: str) -> str:
    """Return the path of a program, or skip the test."""
    found = shutil.which(name)
    beside = [str(p) for folder in folders for p in sorted(Path("/").glob(f"{folder.lstrip('/')}/{name}"))]
    if not (found or beside):
        pytest.skip(f"no {name} here: .ci/run says how it is installed")
    return found or beside[-1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(
    ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, seconds: float = 60
) -> None:
    """Wait until a server answers; show the end of its log where it does not."""
    ends = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > ends:
            pytest.fail(f"{process.args!r} did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)


class Server(Protocol):
    """A server of a test's own."""

    def start(self) -> None: ...

    def kill(self) -> None: ...


S = TypeVar("S", bound=Server)


@contextmanager
def running(make: Callable[[Path], S]) -> Iterator[S]:
    """Run a server that keeps its state in the folder it is made with; both are gone after the block."""
    folder = Path(tempfile.mkdtemp(prefix="offbeat-server-"))
    try:
        server = make(folder)
        server.start()
        try:
            yield server
        finally:
            server.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def as_user(name: str) -> dict[str, str]:
    """Return what makes a process another user's, where we are root and the server refuses to be."""
    return {"user": name} if os.geteuid() == 0 else {}
