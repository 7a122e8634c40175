"""A folder of files under a seal: what is in it, byte for byte, and nothing else.

In: a folder. Out: its file `DIGEST`, one line `<sha256>  <path>` for each other file, and the digest of
that file, by which the registry knows the folder. Reading refuses links, strange names and strange sizes.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path

from pipeline.errors import BundleError

DIGEST = "DIGEST"
MAX_FILE = 1 << 30
MAX_FILES = 20_000
_NAME = re.compile(r"DIGEST|(models/)?[0-9a-z]{1,40}\.(json|keras|onnx)")


def seal(folder: Path) -> str:
    """Write `DIGEST` over the files in `folder` and return the digest that names the whole."""
    text = _text({path: sha256(read(folder, path)) for path in listing(folder) if path != DIGEST})
    (folder / DIGEST).write_text(text)
    return sha256(text.encode())


def verify(folder: Path, digest: str | None) -> tuple[str, dict[str, str]]:
    """Check that `folder` is as it was sealed, and is the one that `digest` names.

    Returns:
        The folder's digest, and the sha256 of each file by path, `DIGEST` left out.

    Raises:
        BundleError: If it holds anything else.
    """
    paths = listing(folder)
    if DIGEST not in paths:
        raise BundleError(f"{folder} is no detector bundle: it has no {DIGEST}")
    sealed = read(folder, DIGEST)
    found = sha256(sealed)
    if digest is not None and found != digest:
        raise BundleError(
            f"the bundle's digest is {found}, the registry recorded {digest}: download it again"
        )
    sums = {path: sha256(read(folder, path)) for path in paths if path != DIGEST}
    if sealed != _text(sums).encode():
        raise BundleError(_difference(sealed.decode(errors="replace"), sums))
    return found, sums


def listing(folder: Path) -> list[str]:
    """Return the paths of all files in `folder`, sorted.

    Raises:
        BundleError: If there is a link, a device, a strange name, or too much.
    """
    if not folder.is_dir():
        raise BundleError(f"{folder} is no folder: a detector bundle is one")
    paths = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not _is_models(folder, p))
    if len(paths) > MAX_FILES:
        raise BundleError(f"the bundle has {len(paths)} files, {MAX_FILES} at most are allowed")
    for path in paths:
        _check(folder / path, path)
    return paths


def read(folder: Path, path: str) -> bytes:
    """Return a file's bytes; never through a link, never more than the limit."""
    try:
        with os.fdopen(os.open(folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise BundleError(f"the bundle's {path} cannot be read ({error.strerror})") from error
    if len(data) > MAX_FILE:
        raise BundleError(f"the bundle's {path} is larger than {MAX_FILE >> 20} MiB")
    return data


def sha256(data: bytes) -> str:
    """Return the SHA-256 of `data` in hex."""
    return hashlib.sha256(data).hexdigest()


def _is_models(folder: Path, path: Path) -> bool:
    return path == folder / "models" and path.is_dir() and not path.is_symlink()


def _check(file: Path, path: str) -> None:
    found = file.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise BundleError(f"the bundle's {path} is no regular file: links and the like are refused")
    if not _NAME.fullmatch(path):
        raise BundleError(f"the bundle has a file {path!r}: only JSON, .keras and .onnx belong in it")
    if found.st_size > MAX_FILE:
        raise BundleError(f"the bundle's {path} is larger than {MAX_FILE >> 20} MiB")


def _text(sums: dict[str, str]) -> str:
    return "".join(f"{total}  {path}\n" for path, total in sorted(sums.items()))


def _difference(sealed: str, sums: dict[str, str]) -> str:
    lines = (line.partition("  ") for line in sealed.splitlines())
    said = {path: total for total, _, path in lines if path}
    for path in sorted(said.keys() | sums.keys()):
        if path not in sums:
            return f"the bundle lacks {path}: download it again"
        if path not in said:
            return f"the bundle has a file {path!r} that was not in it when it was sealed"
        if said[path] != sums[path]:
            return f"the bundle's {path} was changed or cut short after it was sealed: download it again"
    return f"the bundle's {DIGEST} is not as Offbeat writes it: download it again"
