"""The source that docs/sources.md shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pipeline.config.models import SensorStream
from tests.sources.kit import drained

GUIDE = Path(__file__).parents[2] / "docs" / "sources.md"


def test_the_source_of_the_guide_reads_in_batches_from_any_position() -> None:
    code = re.search(r"```python\n(.*?)```", GUIDE.read_text(), re.S)
    assert code
    made: dict[str, Any] = {"__name__": "guide"}
    # not under the guide's own name: pydantic would look for docstrings at these lines of it
    exec(compile(code[1], "<guide>", "exec", dont_inherit=True), made)
    config = made["CounterConfig"](type="counter", until=25)
    body = {
        "name": "counts",
        "kind": "sensor",
        "source": {"path": "unused"},
        "fields": {"channels": [{"name": "count", "max": 23}]},
    }
    stream = SensorStream.model_validate(body, strict=False)
    source = made["CounterSource"](stream, config, Path())
    read = drained(source, limit=10)
    assert [r["count"] for r in read.rows] == list(range(24))
    assert read.reasons == ["count: '24' is above 23, the most it can be"]
    assert (read.batches, read.position) == (3, {"next": 25})
    assert [r["count"] for r in drained(source, position={"next": 20}).rows] == [20, 21, 22, 23]


def test_the_guide_knows_every_source() -> None:
    from pipeline.sources.registry import OPENERS

    rows = re.findall(r"^\| `(\w+)` \|", GUIDE.read_text(), re.M)
    assert rows == list(OPENERS)
