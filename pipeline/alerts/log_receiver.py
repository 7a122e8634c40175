"""The `log` receiver: a line in the log, a line of JSON in `<stream>.jsonl`, the picture beside it.

In: messages. Out: files that only grow, one whole line an alert, written once however often it is sent.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import threading
from datetime import timedelta
from pathlib import Path

from pipeline import log
from pipeline.alerts.message import Message
from pipeline.config.scalars import NAME
from pipeline.errors import DeliveryFailed, DeliveryRefused

_STREAM, _KEY = re.compile(NAME), re.compile(r"[A-Za-z0-9_-]{1,200}")


class LogReceiver:
    """Writes to `folder`; several processes may at once."""

    timeout = timedelta(seconds=30)

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._seen: dict[Path, tuple[int, set[str]]] = {}

    def send(self, message: Message) -> None:
        """Append the alert, unless it is there, and have it on disk before returning."""
        if not (_STREAM.fullmatch(message.stream) and _KEY.fullmatch(message.key)):
            raise DeliveryRefused("not a name that a file could have")
        try:
            with self._lock:
                new = self._append(message)
        except OSError as error:
            raise DeliveryFailed(f"cannot write: {error.strerror}") from error
        if new:
            _say(message)

    def _append(self, message: Message) -> bool:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{message.stream}.jsonl"
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if message.key in self._keys(descriptor, path):
                return False
            picture = self._save_picture(message)
            _write(descriptor, _line(message, picture))
            return True
        finally:
            os.close(descriptor)

    def _keys(self, descriptor: int, path: Path) -> set[str]:
        """Return the keys in the file, reading only what is new; a line torn by a crash is cut off."""
        offset, keys = self._seen.get(path, (0, set()))
        size = os.fstat(descriptor).st_size
        if size < offset:  # somebody rotated the file
            offset, keys = 0, set()
        for line in _lines(descriptor, offset, size):
            if not line.endswith(b"\n"):
                os.ftruncate(descriptor, offset)
                break
            offset += len(line)
            keys.add(_key(line))
        self._seen[path] = offset, keys
        return keys

    def _save_picture(self, message: Message) -> str | None:
        if message.picture is None:
            return None
        folder = self._folder / message.stream
        folder.mkdir(exist_ok=True)
        target, draft = folder / f"{message.key}.png", folder / f"{message.key}.png.{os.getpid()}"
        draft.write_bytes(message.picture)
        draft.replace(target)
        return str(target.relative_to(self._folder))


def _lines(descriptor: int, offset: int, size: int) -> list[bytes]:
    return os.pread(descriptor, size - offset, offset).splitlines(keepends=True) if size > offset else []


def _key(line: bytes) -> str:
    try:
        return str(json.loads(line)["key"])
    except (ValueError, KeyError, TypeError):
        return ""  # a line somebody else wrote


def _line(message: Message, picture: str | None) -> bytes:
    fields = {
        "key": message.key,
        "event": message.event,
        "stream": message.stream,
        "severity": message.severity,
        "created_at": message.created_at.isoformat(),
        "title": message.title,
        "text": message.text,
        "picture": picture,
        **message.data,
    }
    return json.dumps(fields, allow_nan=False).encode() + b"\n"


def _write(descriptor: int, line: bytes) -> None:
    start = os.fstat(descriptor).st_size
    try:
        written = os.write(descriptor, line)
        if written != len(line):
            raise OSError(28, "disk full")
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, start)
        raise


def _say(message: Message) -> None:
    level = {"firing": "warning", "resolved": "info", "meta": "error"}[message.event]
    getattr(log.get(), level)(message.title, alert=message.key, event_type=message.event)
