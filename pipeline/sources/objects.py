"""Objects of an S3 store, as files: `s3://bucket/prefix`. They are replaced whole, never written in place.

One listing says of all objects how large and how old they are; those that are as they were cost no request.
An object is read by ranges, unless it is small. Its tag, asked for before and after, says that it was one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

import pyarrow as pa
from pyarrow import fs

from pipeline import clock
from pipeline.config.models import S3
from pipeline.config.secrets import resolve
from pipeline.config.sources import BUCKET
from pipeline.errors import ConfigError, Unavailable
from pipeline.sources.listing import finished, fits, plain_part
from pipeline.sources.place import Found, Opened, Place, Stat

ATTEMPTS = 4  # of each request, with growing pauses
CONNECT, ANSWER = 5.0, 15.0  # seconds until a connection must stand; of silence in an answer
SMALL = 1 << 20  # bytes: one request for all of it is cheaper than several for parts
FRESH = timedelta(seconds=2)  # times are told in seconds: two writes within one differ by tags alone
_REFUSED = re.compile(
    r"ACCESS_DENIED|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN_ID|EXPIRED_TOKEN"
    r"|UNRECOGNIZED_CLIENT|MISSING_AUTHENTICATION_TOKEN|HTTP status 40[13]|InvalidToken|ExpiredToken"
)
_ARCHIVED = re.compile(r"INVALID_OBJECT_STATE|InvalidObjectState")
_GONE = re.compile(r"NO_SUCH_KEY|RESOURCE_NOT_FOUND|HTTP status 404")
_ANSWERED = re.compile(r"AWS Error|^When ")


class Bucket(Place):
    """The objects of a bucket whose keys begin with a prefix."""

    def __init__(self, store: fs.S3FileSystem, bucket: str, prefix: str, at: str) -> None:
        self.store, self.bucket, self.prefix, self.at = store, bucket, prefix.strip("/"), at

    @classmethod
    def of(cls, where: str, config: S3) -> Bucket:
        """Open `s3://bucket/prefix`; asks the store nothing yet."""
        found = BUCKET.fullmatch(where)
        if not found:
            raise ConfigError(
                "not an address of objects", key="source.path", expected="a folder, or s3://bucket/prefix"
            )
        endpoint = _endpoint(config)
        return cls(
            _filesystem(config, endpoint), found["bucket"], found["prefix"] or "", endpoint or "Amazon"
        )

    def files(self, pattern: str) -> Sequence[tuple[str, Found]]:
        """List the objects: a request for every thousand, and none for each.

        Raises:
            Unavailable: the store does not answer.
            ConfigError: it has no such bucket, or refuses our credentials.
        """
        root = "/".join(part for part in (self.bucket, self.prefix) if part)
        below = "/".join(part for part in (root, plain_part(pattern)) if part)
        with self.told():
            infos = self.store.get_file_info(fs.FileSelector(below, allow_not_found=True, recursive=True))
            if not infos and self.store.get_file_info(self.bucket).type == fs.FileType.NotFound:
                raise ConfigError(
                    f"{self.at} has no bucket {self.bucket}", key="source.path", expected="s3://bucket/prefix"
                )
        now, found = clock.now().timestamp(), []
        for info in infos:
            name = info.path[len(root) + 1 :]
            if info.type == fs.FileType.File and finished(name) and fits(name, pattern):
                fresh = now - info.mtime_ns / 1e9 < FRESH.total_seconds()
                found.append((name, Object(self, info.path, Stat(info.size, info.mtime_ns, fresh=fresh))))
        return sorted(found, key=lambda one: one[0])

    def head(self, path: str) -> pa.NativeFile:
        """Ask for an object, without its content."""
        with self.told(one=True):
            return self.store.open_input_file(path)

    @contextmanager
    def told(self, *, one: bool = False) -> Iterator[None]:
        """Turn what the store says into our errors; of `one` object others are no part of."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            text = " ".join(str(error).split())
            if not _ANSWERED.search(text):
                raise
            if one and _GONE.search(text):
                raise FileNotFoundError(text) from error
            if _ARCHIVED.search(text) or (one and _REFUSED.search(text)):
                raise PermissionError(error.errno, text) from error
            if "NO_SUCH_BUCKET" in text:
                raise ConfigError(f"{self.at} has no bucket {self.bucket}", key="source.path") from error
            if _REFUSED.search(text):
                expected = "keys that may list and read the bucket, here or in AWS's environment variables"
                raise ConfigError(
                    f"{self.at} refuses: {text[:300]}", key="source.s3.access_key", expected=expected
                ) from error
            raise Unavailable(f"{self.at} does not answer: {text[:300]}") from error


@dataclass(frozen=True, slots=True)
class Object(Found):
    """An object that a listing named."""

    bucket: Bucket
    path: str
    listed: Stat

    def stat(self) -> Stat:
        """Return what the listing said."""
        return self.listed

    def open(self) -> Opened:
        """Ask for its tag and size, and fetch it where it is small."""
        return ObjectOpened(self)

    def __str__(self) -> str:
        return f"s3://{self.path}"


class ObjectOpened(Opened):
    """An object that is read by ranges; a small one was fetched whole."""

    remote = True

    def __init__(self, found: Object) -> None:
        self._found = found
        self._ranges = found.bucket.head(found.path)
        size, tag = self._ranges.size(), _tag(self._ranges)
        self.stat = Stat(size, found.listed.mtime_ns, tag=tag, fresh=found.listed.fresh)

    @cached_property
    def file(self) -> pa.NativeFile:
        """Where readers read on; it fetches a small object whole when it is first asked for."""
        return pa.BufferReader(self._ranges.read()) if self.stat.size <= SMALL else self._ranges

    def at(self, offset: int, size: int) -> bytes:
        """Return bytes from `offset` on; of a larger object by a request."""
        return bytes(self.file.read_at(size, offset))

    def close(self) -> None:
        """Let go of it."""
        self._ranges.close()

    def torn(self) -> bool:
        """Ask for the tag again."""
        try:
            with self._found.bucket.head(self._found.path) as now:
                return _tag(now) != self.stat.tag
        except FileNotFoundError:
            return True

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Turn what the store says into Unavailable, FileNotFoundError or PermissionError."""
        with self._found.bucket.told(one=True):
            yield


def _tag(file: Any) -> str:
    return str(file.metadata().get("ETag", b"").decode("ascii", "replace").strip('"'))


def _endpoint(config: S3) -> str:
    """Return the address of a store that is not Amazon's, as configured or in the environment."""
    said = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    return resolve(config.endpoint, secret=False) if config.endpoint else said


def _filesystem(config: S3, endpoint: str) -> fs.S3FileSystem:
    scheme, _, host = endpoint.rpartition("://")
    options = {
        "endpoint_override": host.rstrip("/"),
        "scheme": scheme,
        "region": config.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
        "tls_ca_file_path": config.authority,
        "access_key": config.access_key and resolve(config.access_key),
        "secret_key": config.secret_key and resolve(config.secret_key),
        "session_token": config.session_token and resolve(config.session_token),
    }
    return fs.S3FileSystem(
        anonymous=config.anonymous,
        connect_timeout=CONNECT,
        request_timeout=ANSWER,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        **{name: value for name, value in options.items() if value},
    )
