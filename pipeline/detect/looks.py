"""Moving averages of one joint score over several spans: sharp faults show in short ones, faint ones in long.

In: one number per row, NaN in a gap. Out: its averages over each span, and which rows are flagged by them. A
row depends on the rows within `reach` of it and on nothing else: slices give the same bits as the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.errors import DataError

SUPPORT = 0.25  # of a span's rows must be known
USUAL = 1.0  # the joint of a usual row

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def ahead(span: int, lookahead: int) -> int:
    """Return how many of a span's rows lie after the row it is for: half, if so many may be waited for."""
    return min(span // 2, lookahead)


def reach(spans: Sequence[int], lookahead: int) -> tuple[int, int]:
    """Return how many rows before and after a row its looks and its flag depend on."""
    later = [ahead(span, lookahead) for span in spans]
    before = max(span - 1 - after for span, after in zip(spans, later, strict=True))
    if len(spans) == 1:
        return before, later[0]
    return max(before, spans[0]) + spans[0] - 1 - later[0], max(later) + later[0]


def drift(joint: Floats, memory: int, usual: float) -> Floats:
    """Return how many times its usual value the joint [T] has lately been: at least 1.

    Lately is the median of the last `memory` rows, so that what lasts less than half as long moves nothing;
    with less than a quarter of them known, 1.
    """
    if not memory:
        return np.ones(len(joint))
    lately = pd.Series(joint).rolling(memory, min_periods=max(1, memory // 4)).median().to_numpy()
    return np.fmax(lately / usual, 1.0)


def check(spans: Sequence[int]) -> None:
    """Refuse spans that do not divide one another, shortest first (DataError)."""
    steps = (long % short or long <= short for short, long in pairwise(spans))
    if not spans or spans[0] < 1 or any(steps):
        raise DataError(f"spans {tuple(spans)} are not ascending multiples of one another")


def looks(joint: Floats, spans: Sequence[int], lookahead: int) -> Floats:
    """Average `joint` [T] over each of `spans` [S, T], centred as far as `lookahead` rows allow.

    Missing rows are left out of an average; a row that is missing itself has none (NaN), nor has one that
    knows less than a quarter of a longer span. In the shortest span it has: rows that are at most usual fill
    the quarter up, or every gap would end in averages of one row. Each span's sum is made of sums over the
    span before it, in one fixed order, so that rounding does not depend on where a slice begins.
    """
    check(spans)
    known = ~np.isnan(joint)
    pad = max(ahead(span, lookahead) for span in spans)
    total = np.concatenate([np.where(known, joint, 0.0), np.zeros(pad)])
    count = np.concatenate([known.astype(np.float64), np.zeros(pad)])
    out, width = np.full((len(spans), len(joint)), np.nan), 1
    for number, span in enumerate(spans):
        total, count = (_trailing(sums, width, span // width) for sums in (total, count))
        width, shift = span, ahead(span, lookahead)
        here = slice(shift, shift + len(joint))
        least = SUPPORT * span
        enough = known & (count[here] >= least) if number else known
        sums, rows = total[here][enough], count[here][enough]
        fill = np.maximum(least - rows, 0.0)
        out[number, enough] = (sums + fill * np.minimum(sums / rows, USUAL)) / (rows + fill)
    return out


def flags(joint: Floats, seen: Floats, reached: Floats, spans: Sequence[int], lookahead: int) -> Bools:
    """Return the rows [T] over the threshold that still show it, and not only because of what is over.

    A row that is over in the shortest look is flagged. One that is over in a longer look must be as far up in
    the shortest as well; and the longer look must not be over because of rows that the shortest flagged: it
    is over without them, or such a row lies at most the shortest span back. A spike or a short fault would
    else go on being flagged, in pieces, for as long as the longest look remembers it.

    Args:
        joint: of each row [T].
        seen: its `looks` [S, T].
        reached: what each look must reach [S].
        spans: of the looks.
        lookahead: of the looks.
    """
    with np.errstate(invalid="ignore"):
        over = seen >= reached[:, None]
        sharp = over[0]
        if len(spans) == 1:
            return np.asarray(sharp)
        faint = looks(np.where(sharp, np.nan, joint), spans, lookahead) >= reached[:, None]
        shows = over & (seen[0] >= reached[:, None])
    lately = _trailing(sharp.astype(np.float64), 1, spans[0] + 1) > 0
    return np.asarray(sharp | (shows & (faint | lately)).any(axis=0))


def _trailing(sums: Floats, width: int, times: int) -> Floats:
    """Return, from sums over the last `width` rows, those over the last `width * times`."""
    out = sums.copy()
    for back in range(width, min(width * times, len(sums)), width):
        out[back:] += sums[:-back]
    return out
