"""Transactions: payments or orders in, one scaled sequence per entity out, each row against its history.

`fit` learns the population's scaling and vocabularies; `transform` makes features that see only earlier
rows of the same entity, at most 64 and none older than `window.context`; `expected` undoes the scaling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Self

import numpy as np
import pyarrow as pa

from pipeline.config.models import TransactionStream
from pipeline.errors import BundleError, NotEnoughData
from pipeline.prepare import counterparty, evidence, facets, history, ledger, scaling, usual, vocabulary
from pipeline.prepare.facets import Facet
from pipeline.prepare.ledger import Ledger
from pipeline.prepare.scaling import Scaling
from pipeline.prepare.series import Bools, Features, Floats, Series, Singles, squash
from pipeline.prepare.vocabulary import Vocabulary

EMBARGO_SHARE = 0.05
"""The embargo is the time a window usually spans, but never more than this share of the history."""
_MICROSECOND = timedelta(microseconds=1)


class TransactionPreparer:
    """Puts a transaction stream into sequences; pure, knows nothing but the stream and its fit."""

    population_: Scaling
    scaling_: Scaling
    words_: tuple[Vocabulary, ...]
    features_: Features
    embargo_us_: int
    norms_: usual.Norms

    def __init__(self, stream: TransactionStream) -> None:
        self.stream = stream

    @property
    def step_us(self) -> int | None:
        """None: transactions are not on a grid."""
        return None

    @property
    def slack_(self) -> Floats:
        """None: no channel of a transaction is a command."""
        return np.zeros(len(self.stream.channels))

    @property
    def window_reach(self) -> timedelta | None:
        """How far back a window may look: rows older than this at its end are masked."""
        return self.stream.window.context

    @property
    def context(self) -> timedelta:
        """Earlier data the first new row needs: a window's reach, and its oldest row's own history."""
        twice, delay = 2 * self.stream.window.context, self._delay_us
        if delay is None:
            return twice
        return max(twice, (delay + max(counterparty.WINDOWS_US)) * _MICROSECOND)

    @property
    def evidence_(self) -> tuple[str, ...]:
        """Names of the columns of a series' evidence."""
        return evidence.names(self.stream.fields.categories, self._delay_us is not None)

    @property
    def embargo(self) -> timedelta:
        """Time left out between training and held-out data."""
        return self.embargo_us_ * _MICROSECOND

    def fit(self, table: pa.Table, *, until: int | None = None, since: int | None = None) -> Self:
        """Learn scaling and vocabularies from transactions in [since, until) (microseconds UTC).

        Earlier ones are the context of those that are learned from.

        Raises:
            NotEnoughData: there is none.
        """
        book = self._read(table, None, until)
        chosen = np.ones(len(book), np.bool_) if since is None else book.time >= since
        if not chosen.any():
            raise NotEnoughData(f"{self.stream.name}: no transaction to learn from")
        past = history.look_back(book, self._context_us)
        self.population_ = scaling.fit_pooled(facets.quantities(book, past)[chosen])
        self.words_ = tuple(vocabulary.learn(c.codes[chosen], c.texts) for c in book.categories)
        self.features_ = self._layout()
        columns = self._facets(book, past, facets.own(past, self.population_))
        self.scaling_ = _fit_scaling(columns, chosen)
        self.embargo_us_ = self._usual_span(book, chosen)
        self.norms_ = usual.learn_norms(book, chosen, self.stream.window.length)
        return self

    def transform(
        self, table: pa.Table, *, start: int | None = None, until: int | None = None
    ) -> list[Series]:
        """Return one series per entity, of the rows with start ≤ time < until (microseconds UTC).

        Args:
            table: columns id, entity, time, amount and the categories, in any order; not modified.
            start: earlier rows are left out, of histories too.
            until: this and later rows are left out.
        """
        book = self._read(table, start, until)
        past = history.look_back(book, self._context_us)
        own = facets.own(past, self.population_)
        values, mask = self._scaled(self._facets(book, past, own), len(book))
        actual = facets.actual(book, past, len(self.stream.channels))
        told = evidence.evidence(book, self.norms_, self._context_us, self._delay_us)
        label = None if self._delay_us is None else book.label
        whole = Series("", book.time, values, mask, actual, book.ids, own, told, label)
        return _by_entity(whole, book)

    def expected(self, series: Series, recon: Floats | Singles) -> Floats:
        """Return reconstructed features [T, F] as amount, hours since the last and hour UTC [T, C].

        NaN for categories, and for the pace of an entity's first transaction.
        """
        if series.own is None:
            raise ValueError("not a series of transactions")
        plain = self.scaling_.invert(np.asarray(recon, dtype=np.float64))
        chosen = ("amount against own", "pace against own", "hour sin", "hour cos")
        at = [self.features_.names.index(name) for name in chosen]
        expected = np.full(series.actual.shape, np.nan)
        expected[:, :3] = facets.readable(series.own, *(plain[:, i] for i in at))
        return np.where(np.isnan(series.actual), np.nan, expected)

    def to_dict(self) -> dict[str, Any]:
        """Return what was learned, as JSON can hold it."""
        return {
            **self._about(),
            "population": self.population_.to_dict(),
            "scaling": self.scaling_.to_dict(),
            "vocabularies": [words.to_dict() for words in self.words_],
            "features": list(self.features_.names),
            "embargo_us": self.embargo_us_,
            "norms": self.norms_.to_dict(),
        }

    @classmethod
    def from_dict(cls, stream: TransactionStream, saved: Mapping[str, Any]) -> Self:
        """Restore a fitted preparer; BundleError if it was fitted for other channels or another context."""
        preparer = cls(stream)
        for key, value in preparer._about().items():
            if saved.get(key) != value:
                raise BundleError(f"{key} was {saved.get(key)} in training and is now {value}: train again")
        preparer.words_ = tuple(Vocabulary.from_dict(words) for words in saved.get("vocabularies", ()))
        if len(preparer.words_) != len(stream.fields.categories):
            raise BundleError("the bundle lacks a vocabulary for a category")
        preparer.population_ = Scaling.from_dict(saved.get("population", {}), 2)
        preparer.features_ = preparer._layout()
        if saved.get("features") != list(preparer.features_.names):
            raise BundleError("the bundle's features are not those of this release: train again")
        preparer.scaling_ = Scaling.from_dict(saved.get("scaling", {}), len(preparer.features_))
        preparer.norms_ = usual.Norms.from_dict(saved.get("norms"))
        embargo = saved.get("embargo_us")
        preparer.embargo_us_ = embargo if isinstance(embargo, int) else 0  # of use in training alone
        return preparer

    @property
    def _context_us(self) -> int:
        return self.stream.window.context // _MICROSECOND

    @property
    def _delay_us(self) -> int | None:
        fields = self.stream.fields
        return None if fields.label is None else fields.label_delay // _MICROSECOND

    def _about(self) -> dict[str, Any]:
        about = {
            "kind": "transaction",
            "channels": list(self.stream.channels),
            "context_us": self._context_us,
        }
        return about if self._delay_us is None else {**about, "label_delay_us": self._delay_us}

    def _read(self, table: pa.Table, start: int | None, until: int | None) -> Ledger:
        return ledger.read(table, self.stream.fields.categories, start, until)

    def _facets(self, book: Ledger, past: history.History, own: Floats) -> list[Facet]:
        return list(facets.facets(book, past, own, self.stream.fields.categories, self.words_))

    def _layout(self) -> Features:
        """Return the features that the vocabularies give, as an empty ledger would have them."""
        book = ledger.empty(len(self.stream.fields.categories))
        past = history.look_back(book, self._context_us)
        columns = self._facets(book, past, facets.own(past, self.population_))
        channels = np.array([c.channel for c in columns], dtype=np.int32)
        return Features(tuple(c.name for c in columns), channels)

    def _scaled(self, columns: list[Facet], rows: int) -> tuple[Singles, Bools]:
        values = np.zeros((rows, len(columns)), dtype=np.float32)
        mask = np.zeros((rows, len(columns)), dtype=np.bool_)
        for f, column in enumerate(columns):
            plain = np.where(column.known, column.values, np.nan)
            values[:, f] = squash((plain - self.scaling_.center[f]) / self.scaling_.scale[f])
            mask[:, f] = column.known
        return values, mask

    def _usual_span(self, book: Ledger, chosen: Bools) -> int:
        same = (book.entity[1:] == book.entity[:-1]) & chosen[1:]
        gap = np.median(np.diff(book.time)[same]) if same.any() else 0
        history_us = int(book.time[chosen].max() - book.time[chosen].min())
        return int(min(self.stream.window.length * float(gap), EMBARGO_SHARE * history_us))


def _fit_scaling(columns: list[Facet], chosen: Bools) -> Scaling:
    center, scale = np.zeros(len(columns)), np.ones(len(columns))
    for f, column in enumerate(columns):
        if column.least is not None:
            known = np.where(column.known, column.values, np.nan)[chosen]
            learned = scaling.fit_pooled(known[:, None])
            center[f], scale[f] = learned.center[0], max(learned.scale[0], column.least)
    return Scaling(center, scale)


def _by_entity(whole: Series, book: Ledger) -> list[Series]:
    edges = np.searchsorted(book.entity, np.arange(len(book.entities) + 1))
    bounds = zip(book.entities, edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    return [replace(whole.rows(begin, end), entity=name) for name, begin, end in bounds if end > begin]
