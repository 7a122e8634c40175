"""The two kinds of preparer behind one face; `new_preparer` chooses.

In: a table of observations. Out: scaled series; and reconstructions back in the channels' own units.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Protocol, Self

import pyarrow as pa

from pipeline.config.models import SensorStream, Stream
from pipeline.prepare.sensor import SensorPreparer
from pipeline.prepare.series import Features, Floats, Series, Singles
from pipeline.prepare.transaction import TransactionPreparer


class Preparer(Protocol):
    """Turns stored observations into what the model sees. Attributes that end in _ come from `fit`."""

    @property
    def features_(self) -> Features:
        """Names of the features, and the channel each belongs to."""

    @property
    def slack_(self) -> Floats:
        """Error per channel [C], in scaled units, that says nothing: the step of a command."""

    @property
    def context(self) -> timedelta:
        """Earlier data that the first new row needs to be the same as if everything had been given."""

    @property
    def embargo(self) -> timedelta:
        """Time left out between training and held-out data."""

    @property
    def step_us(self) -> int | None:
        """Grid step in microseconds; None for transactions."""

    @property
    def window_reach(self) -> timedelta | None:
        """How far back a window may look, apart from its length."""

    def fit(self, table: pa.Table, *, until: int | None = None, since: int | None = None) -> Self:
        """Learn from the rows in [since, until) (microseconds UTC) alone; return self."""

    def transform(
        self, table: pa.Table, *, start: int | None = None, until: int | None = None
    ) -> list[Series]:
        """Return series in order of entity and time, made of what lies wholly in [start, until)."""

    def expected(self, series: Series, recon: Floats | Singles) -> Floats:
        """Return a reconstruction [T, F] in own units [T, C]; NaN where that means nothing."""

    def to_dict(self) -> dict[str, Any]:
        """Return what was learned, as JSON can hold it."""


def new_preparer(stream: Stream) -> Preparer:
    """Return an unfitted preparer of the stream's kind."""
    return SensorPreparer(stream) if isinstance(stream, SensorStream) else TransactionPreparer(stream)


def load_preparer(stream: Stream, saved: Mapping[str, Any]) -> Preparer:
    """Restore a fitted preparer from `to_dict`; BundleError where it does not match the stream."""
    if isinstance(stream, SensorStream):
        return SensorPreparer.from_dict(stream, saved)
    return TransactionPreparer.from_dict(stream, saved)
