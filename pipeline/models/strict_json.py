"""JSON as the bundle reads and writes it: plain, finite, nothing said twice."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from pipeline.errors import BundleError


def parse(data: bytes, name: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        BundleError: If it is no JSON object, says a key twice, or has a number that is not finite.
    """
    try:
        value = json.loads(
            data.decode(), object_pairs_hook=_once, parse_float=_finite, parse_constant=_finite
        )
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{name} is not plain JSON ({error})") from error
    if not isinstance(value, dict):
        raise BundleError(f"{name} holds a {type(value).__name__}, expected an object")
    return value


def dump(value: Mapping[str, Any], name: str) -> bytes:
    """Write a JSON object, the same bytes for the same content.

    Raises:
        BundleError: If something in it is not JSON, or a number that is not finite.
    """
    try:
        return (json.dumps(value, allow_nan=False, indent=1, sort_keys=True) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise BundleError(f"{name} cannot be written as plain JSON ({error})") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is not a finite number")
    return number
