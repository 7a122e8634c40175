"""The style sheet and scripts: ours, and Plotly's from its wheel. In: names. Out: bytes, and addresses."""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path(__file__).parent / "static"


@dataclass(frozen=True)
class Static:
    """A file, as it is and packed by gzip, which is done when it is first asked for."""

    body: bytes
    kind: str

    @cached_property
    def packed(self) -> bytes:
        """The file packed by gzip."""
        return gzip.compress(self.body, 6)


@cache
def statics() -> dict[str, Static]:
    """Return the files by name, read once."""
    wheel = find_spec("plotly")
    assert wheel is not None
    assert wheel.origin is not None
    kinds = {
        FOLDER / "page.css": "text/css",
        FOLDER / "page.js": "text/javascript",
        Path(wheel.origin).parent / "package_data" / "plotly.min.js": "text/javascript",
    }
    bodies = {path: path.read_bytes() for path in kinds}
    return {p.name: Static(body, kinds[p]) for p, body in bodies.items()}


@cache
def mark(name: str) -> str:
    """Return a file's address: another one when it changes."""
    digest = hashlib.sha256(statics()[name].body).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


@cache
def map_styles() -> str:
    """Return the id of the element by which Plotly tells that the styles of its maps are there; "" for none.

    A page that has such an element is spared styles that it has no use for, and that its policy forbids.
    """
    found = re.search(rb'\.id="([0-9a-f]{64})"', statics()["plotly.min.js"].body)
    return found[1].decode() if found else ""
