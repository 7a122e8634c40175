"""What tells of a transaction beside the model's error, in plain units: one row of numbers for each payment.

In: a `Ledger` and what is usual. Out: columns [N, K] that `detect` turns into surprise, named by `names`.
"""

from __future__ import annotations

import numpy as np

from pipeline.config.models import TransactionStream
from pipeline.prepare import counterparty
from pipeline.prepare.ledger import Ledger
from pipeline.prepare.series import Floats
from pipeline.prepare.usual import Norms, look, oddness

OWN, SPREAD, PACE, SAME = "own", "spread", "pace", "same"
WINDOWS = tuple(window // counterparty.DAY_US for window in counterparty.WINDOWS_US)
ENTITY = "entity"


def names(fields: tuple[str, ...], labelled: bool) -> tuple[str, ...]:
    """Return the columns' names: own, spread, pace, same; `others <field>`; `known|fraud <field> <days>`."""
    sides = tuple(f"others {field}" for field in fields)
    kinds = ("known", "fraud")
    told = tuple(f"{kind} {key} {days}" for key in (ENTITY, *fields) for days in WINDOWS for kind in kinds)
    return (OWN, SPREAD, PACE, SAME, *sides, *(told if labelled else ()))


def names_of(stream: TransactionStream) -> tuple[str, ...]:
    """Return the names of a stream's columns."""
    return names(stream.fields.categories, stream.fields.label is not None)


def evidence(book: Ledger, norms: Norms, context: int, delay: int | None) -> Floats:
    """Return the columns [N, K].

    Args:
        book: transactions in order.
        norms: of the population.
        context: microseconds that are looked back.
        delay: microseconds after which a label is known; None where there are none.
    """
    usual = look(book, norms, context)
    odd = oddness(book, usual)
    sides = [counterparty.others(book, odd, category, context) for category in book.categories]
    columns = np.column_stack([usual.amount, usual.spread, usual.pace, usual.same, *sides])
    if delay is None:
        return columns
    return np.column_stack([columns, counterparty.confirmed(book, delay).reshape(len(book), -1)])
