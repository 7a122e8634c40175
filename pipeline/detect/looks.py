"""Moving averages of one joint score over several spans: sharp faults show in short ones, faint ones in long.

In: one number per row, NaN in a gap; of one series [T], or of several side by side [E, T]. Out: its averages
over each span, and which rows are flagged by them. A row depends on the rows within `reach` of it and on
nothing else: slices give the same bits as the whole, and rows that are not there the same as rows in a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.errors import DataError

SUPPORT, LEAST = 0.25, 4  # share of a span's rows that must be known, and how many of a short one's
USUAL = 1.0  # the joint of a usual row
MANY = 128  # rows of a series from which a rolling median is quicker than one by one
BLOCK = 1024  # medians at once: bounds memory
PRESENT = 16  # rows: what a longer look is over for must still show in one of so many

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def ahead(span: int, lookahead: int) -> int:
    """Return how many of a span's rows lie after the row it is for: half, if so many may be waited for."""
    return min(span // 2, lookahead)


def reach(spans: Sequence[int], lookahead: int) -> tuple[int, int]:
    """Return how many rows before and after a row its looks and its flag depend on."""
    later = [ahead(span, lookahead) for span in spans]
    before = [span - 1 - after for span, after in zip(spans, later, strict=True)]
    return sum(before) + sum(spans[:-1]), sum(later)


def drift(joint: Floats, memory: int, usual: float, context: int = 0) -> Floats:
    """Return how many times its usual value the joint [..., T] has lately been, from row `context` on.

    It is at least 1. Lately is the median of the last `memory` rows, so that what lasts less than half as
    long moves nothing; with less than a quarter of them known, 1. It is above the usual value only where half
    the known rows are, which is quickly counted: medians are looked for there alone.
    """
    out = np.ones(joint.shape)
    if memory:
        there = ~np.isnan(joint)
        known, high = (_counted(rows, memory) for rows in (there, joint > usual))
        asked = there & (known >= max(1, memory // 4)) & (2 * high >= known)
        asked[..., :context] = False
        single = asked & (asked.sum(axis=-1, keepdims=True) < MANY) & (known == memory)
        for series in np.argwhere((asked & ~single).any(axis=-1)):
            at = tuple(series)
            lately = pd.Series(joint[at]).rolling(memory, min_periods=max(1, memory // 4)).median()
            out[at] = np.fmax(lately.to_numpy() / usual, 1.0)
            single[at] = False
        out[single] = np.fmax(_medians(joint, memory, single) / usual, 1.0)
    return out[..., context:]


def _medians(joint: Floats, memory: int, asked: Bools) -> Floats:
    """Return the median of the last `memory` rows, all of them known, at each row that is asked for [N]."""
    found, places = np.empty(int(asked.sum())), np.nonzero(asked)
    windows = np.lib.stride_tricks.sliding_window_view(joint, memory, axis=-1) if len(found) else joint
    middle = ((memory - 1) // 2, memory // 2)
    for begin in range(0, len(found), BLOCK):
        part = slice(begin, begin + BLOCK)
        *lane, row = (place[part] for place in places)
        here = np.partition(windows[(*lane, row - memory + 1)], middle, axis=-1)
        found[part] = (here[:, middle[0]] + here[:, middle[1]]) / 2
    return found


def _counted(rows: Bools, last: int) -> NDArray[np.int32]:
    """Return how many of the last so many rows are true [..., T]."""
    total = np.cumsum(rows, axis=-1, dtype=np.int32)
    count = total.copy()
    count[..., last:] -= total[..., :-last]
    return count


def check(spans: Sequence[int]) -> None:
    """Refuse spans that do not divide one another, shortest first (DataError)."""
    steps = (long % short or long <= short for short, long in pairwise(spans))
    if not spans or spans[0] < 1 or any(steps):
        raise DataError(f"spans {tuple(spans)} are not ascending multiples of one another")


def looks(joint: Floats, spans: Sequence[int], lookahead: int) -> Floats:
    """Average `joint` [..., T] over each of `spans` [S, ..., T], centred as far as `lookahead` rows allow.

    Missing rows are left out of an average; a row that is missing itself has none (NaN), nor has one that
    knows less than a quarter of a span of more than 16 rows. In a shorter one, and in the shortest, it has:
    rows that are at most usual fill the quarter, or four rows, up, or every gap would end in averages of one
    row. Each span's sum is made of sums over the span before it, in one fixed order, so that rounding does
    not depend on where a slice begins.
    """
    check(spans)
    known = ~np.isnan(joint)
    pad = max(ahead(span, lookahead) for span in spans)
    nothing, rows = np.zeros((*joint.shape[:-1], pad)), joint.shape[-1]
    total = np.concatenate([np.where(known, joint, 0.0), nothing], axis=-1)
    count = np.concatenate([known.astype(np.float64), nothing], axis=-1)
    out, width = np.full((len(spans), *joint.shape), np.nan), 1
    for number, span in enumerate(spans):
        total, count = (_trailing(sums, width, span // width) for sums in (total, count))
        width, shift = span, ahead(span, lookahead)
        here = slice(shift, shift + rows)
        least = max(SUPPORT * span, min(LEAST, span))
        enough = known & (count[..., here] >= least) if number and span > PRESENT else known
        sums, there = total[..., here][enough], count[..., here][enough]
        fill = np.maximum(least - there, 0.0)
        out[number][enough] = (sums + fill * np.minimum(sums / there, USUAL)) / (there + fill)
    return out


def flags(joint: Floats, seen: Floats, reached: Floats, spans: Sequence[int], lookahead: int) -> Bools:
    """Return the rows [..., T] over the threshold that still show it, and not only because of what is over.

    A row that is over in the shortest look is flagged. One that is over in a longer look must be as far up in
    one of at most 16 rows as well; and it must not be over because of rows that shorter looks, of at most 16
    rows, flagged: it is over without them, or such a row lies at most one shorter span, or 16 rows, back. A
    spike or a short fault would else go on being flagged for as long as the longest look remembers it.

    Args:
        joint: of each row [..., T].
        seen: its `looks` [S, ..., T].
        reached: what each look must reach [S].
        spans: of the looks.
        lookahead: of the looks.
    """
    with np.errstate(invalid="ignore"):
        over = np.stack([look >= least for look, least in zip(seen, reached, strict=True)])
        sharp = flagged = over[0]
        for number in range(1, len(spans)):
            present = seen[min(number, at_present(spans))] >= reached[number]
            quiet = np.where(sharp, np.nan, joint)
            faint = looks(quiet, spans[: number + 1], lookahead)[number] >= reached[number]
            lately = _trailing(sharp.astype(np.float64), 1, min(spans[number - 1], PRESENT) + 1) > 0
            flagged = flagged | (over[number] & present & (faint | lately))
            sharp = flagged if spans[number] <= PRESENT else sharp
    return np.asarray(flagged)


def at_present(spans: Sequence[int]) -> int:
    """Return which look tells what is there now: the longest of at most 16 rows, else the shortest."""
    return max((number for number, span in enumerate(spans) if span <= PRESENT), default=0)


def _trailing(sums: Floats, width: int, times: int) -> Floats:
    """Return, from sums over the last `width` rows, those over the last `width * times`."""
    out = sums.copy()
    for back in range(width, min(width * times, sums.shape[-1]), width):
        out[..., back:] += sums[..., :-back]
    return out
