"""The clock stands still at `kit.NOW` in tests of sources."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline import clock
from tests.sources.kit import NOW


@pytest.fixture(autouse=True, scope="module")
def still() -> Iterator[None]:
    with clock.frozen(NOW):
        yield
