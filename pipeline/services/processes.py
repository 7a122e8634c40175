"""Servers as child processes with pid files: start, ask, end.

In: a command of ours, never a stranger's. Out: a process that outlives us.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipeline.errors import Unavailable

GRACE = 20.0  # seconds between TERM and KILL


@dataclass(frozen=True)
class Service:
    """One server: its name, which is also its log's and pid file's, and its command."""

    name: str
    command: tuple[str, ...]


def launch(folder: Path, service: Service, env: Mapping[str, str]) -> None:
    """Start a service in a session of its own, its output in `<name>.log`; do nothing where it runs."""
    if running(folder, service.name):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{service.name}.log").open("ab") as output:
        child = subprocess.Popen(  # noqa: S603 - commands of our own
            service.command,
            env=dict(env),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    born = psutil.Process(child.pid).create_time()
    (folder / f"{service.name}.pid").write_text(json.dumps({"pid": child.pid, "born": born}))


def run_to_end(folder: Path, service: Service, env: Mapping[str, str]) -> None:
    """Run a command to its end, its output in `<name>.log`.

    Raises:
        Unavailable: it failed; with the end of its log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{service.name}.log").open("ab") as output:
        ended = subprocess.run(  # noqa: S603 - commands of our own
            service.command, env=dict(env), cwd=folder, stdout=output, stderr=subprocess.STDOUT, check=False
        )
    if ended.returncode:
        raise Unavailable(f"`{' '.join(service.command)}` failed\n{_tail(folder, [service.name])}")


def running(folder: Path, name: str) -> psutil.Process | None:
    """Return a service's process, if it lives. A pid that another process has got since does not count."""
    path = folder / f"{name}.pid"
    if not path.exists():
        return None
    noted = json.loads(path.read_text())
    try:
        process = psutil.Process(noted["pid"])
        same = abs(process.create_time() - noted["born"]) < 1
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def names(folder: Path) -> list[str]:
    """Return the services that have a pid file, in the order they were started."""
    return [p.stem for p in sorted(folder.glob("*.pid"), key=lambda p: p.stat().st_mtime_ns)]


def family(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Return processes and all their descendants that live."""
    found: dict[int, psutil.Process] = {}
    for process in processes:
        try:
            found |= {p.pid: p for p in (process, *process.children(recursive=True))}
        except psutil.NoSuchProcess:
            continue
    return list(found.values())


def end(folder: Path, which: Sequence[str] | None = None, *, grace: float = GRACE) -> list[str]:
    """End services, the last started first: TERM to all, KILL to what is left of their families."""
    chosen = list(reversed(names(folder) if which is None else which))
    alive = {name: p for name in chosen if (p := running(folder, name))}
    everyone = family(alive.values())
    for process in alive.values():
        _signal(process, signal.SIGTERM)
    _, stubborn = psutil.wait_procs(everyone, timeout=grace)
    for process in stubborn:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=5)
    for name in chosen:
        (folder / f"{name}.pid").unlink(missing_ok=True)
    return list(alive)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def wait_until(what: str, ready: Callable[[], bool], folder: Path, timeout: float) -> float:
    """Wait until `ready()` says yes; return how long that took, in seconds.

    Raises:
        Unavailable: it did not in time, or a service ended; with the end of its log.
    """
    began = time.monotonic()
    while True:
        # First whether ours live: another's server may answer on a port that ours did not get.
        if dead := [name for name in names(folder) if not running(folder, name)]:
            raise Unavailable(f"{what}: {', '.join(dead)} ended\n{_tail(folder, dead)}")
        if ready():
            return time.monotonic() - began
        if time.monotonic() - began > timeout:
            raise Unavailable(f"{what}: not ready after {timeout:g} s\n{_tail(folder, names(folder))}")
        time.sleep(0.2)


def _tail(folder: Path, which: Sequence[str], lines: int = 12) -> str:
    parts = []
    for name in which:
        log = folder / f"{name}.log"
        if log.exists():
            parts.append(f"--- {log}")
            parts.extend(log.read_text(errors="replace").splitlines()[-lines:])
    return os.linesep.join(parts)
