#!/usr/bin/env python3
"""`health URL`: exit 0 if the URL answers well, that is with a status below 400."""

from __future__ import annotations

import sys
from urllib.request import urlopen


def main() -> int:
    """Ask, and say how it went by the exit code."""
    try:
        urlopen(sys.argv[1], timeout=8).close()  # noqa: S310 - our own container's address
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
