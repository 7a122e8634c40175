"""Sources that are not ours: classes that installed packages name as entry points of `offbeat.sources`.

In: what is installed. Out: their classes by `source.type`. One that cannot be used is said loudly and left
out: the streams that ask for it are broken, no other.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, get_args

from pipeline import log
from pipeline.config.scalars import Strict

GROUP = "offbeat.sources"


@cache
def installed() -> tuple[dict[str, type[Any]], dict[str, str]]:
    """Return the classes by the `type` that streams call them by, and why others could not be used."""
    usable: dict[str, type[Any]] = {}
    broken: dict[str, str] = {}
    for point in entry_points(group=GROUP):
        try:
            usable[point.name] = _checked(point)
        except Exception as error:  # noqa: BLE001 - whatever an installed package does, ours goes on
            broken[point.name] = f"{point.value} cannot be used: {type(error).__name__}: {error}"
            log.get().error("a plug-in cannot be used", source=point.name, why=broken[point.name])
    return usable, broken


def _checked(point: EntryPoint) -> type[Any]:
    made: type[Any] = point.load()
    config = getattr(made, "Config", None)
    if not (isinstance(config, type) and issubclass(config, Strict) and "type" in config.model_fields):
        raise TypeError("expected a class whose `Config` is a Strict model with the key `type`")
    tags = get_args(config.model_fields["type"].annotation)
    if tags != (point.name,):
        raise TypeError(f"expected `type: Literal[{point.name!r}]` in its Config, got {tags}")
    return made
