"""Flags in a row become events: when it began, how bad it was, which channels.

In: one entity's scored rows in time order. Out: `Event`s. A later slice of the same rows gives events
that overlap those of the earlier one; the store takes overlapping events for one anomaly.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.detect.contributions import largest
from pipeline.detect.detector import gap_us
from pipeline.events import Contribution, Event

BANDS = ((6.0, "critical"), (3.0, "high"), (1.5, "medium"), (0.0, "low"))  # times the threshold
BEFORE = 64
"""Rows before an event that say where a channel was."""
CANDIDATES = 32
"""Rows of an event, the worst first, of which one names its channels."""

Floats = NDArray[np.floating[Any]]


def severity(score: float) -> str:
    """Name a peak score: low from 1, medium from 1.5, high from 3, critical from 6 thresholds."""
    return next(name for least, name in BANDS if score >= least)


def events(
    entity: str,
    time_us: NDArray[np.int64],
    score: Floats,
    flag: NDArray[np.bool_],
    raw: Floats,
    share: Floats,
    expected: Floats,
    actual: Floats,
    channels: Sequence[str],
    *,
    merge_us: int,
    watermark_us: int,
    ids: NDArray[Any] | None = None,
    step_us: int | None = None,
    top: int = 3,
) -> list[Event]:
    """Find the events of one entity, earliest first.

    Flags at most `merge_us` (or one step) apart are one event. It starts where the raw
    score first crossed in the unbroken run before the first flag, because smoothing flags late; it ends
    with its last flag; its peak is its worst raw row that is no return to what was before, and names the
    channels. It is open while a flag after the watermark could still belong to it.

    Args:
        entity: whose rows they are.
        time_us: int64 us UTC, ascending [T].
        score: 1 = threshold, NaN in a gap [T].
        flag: rows over the threshold that still show it [T].
        raw: before smoothing [T].
        share: of the joint error [T, C].
        expected: in the channels' own units [T, C], NaN where meaningless.
        actual: likewise [T, C].
        channels: names [C].
        merge_us: flags closer than this belong together.
        watermark_us: time up to which, inclusive, everything has been scored.
        ids: of transactions [T].
        step_us: grid step of a sensor stream.
        top: contributions at most.
    """
    gap = gap_us(merge_us, step_us)
    out = []
    for flags in _groups(time_us, flag, gap):
        first, last = _onset(raw, flags[0], time_us, gap), int(flags[-1])
        peak = _peak(first, last, raw, share, expected, actual)
        worst = float(score[flags].max())
        out.append(
            Event(
                entity=entity,
                start=_moment(time_us[first]),
                end=_moment(time_us[last]),
                peak=_moment(time_us[peak]),
                peak_score=worst,
                severity=severity(worst),
                channels=_contributions(share[peak], expected[peak], actual[peak], channels, top),
                open=int(time_us[last]) + gap > watermark_us,
                ids=() if ids is None else tuple(str(i) for i in ids[flags]),
            )
        )
    return out


def _groups(time_us: NDArray[np.int64], flag: NDArray[np.bool_], gap: int) -> list[NDArray[np.int64]]:
    flagged = np.flatnonzero(flag)
    breaks = np.flatnonzero(np.diff(time_us[flagged]) > gap) + 1
    return [g for g in np.split(flagged, breaks) if len(g)]


def _onset(raw: Floats, flag: int, time_us: NDArray[np.int64], gap: int) -> int:
    first = int(flag)
    while first > 0 and raw[first - 1] >= 1 and time_us[first] - time_us[first - 1] <= gap:
        first -= 1
    return first


def _peak(first: int, last: int, raw: Floats, share: Floats, expected: Floats, actual: Floats) -> int:
    """Return the worst row, but for those where a fault ends.

    A model that has followed a fault expects it to go on: where it ends, the error may be the largest, and
    what was measured is right.
    """
    worst = first + np.argsort(-np.nan_to_num(raw[first : last + 1], nan=-1.0), kind="stable")
    for row in worst[:CANDIDATES]:
        if np.isfinite(raw[row]) and not _returns(first, int(row), share, expected, actual):
            return int(row)
    return int(worst[0])


def _returns(first: int, row: int, share: Floats, expected: Floats, actual: Floats) -> bool:
    """Tell whether a row's leading channel comes back to where it was before the event.

    It is nearer to that than what was expected is, and off to the other side than it was in the event so far.
    """
    channel = int(np.nan_to_num(share[row], nan=-1.0).argmax())
    before = actual[max(first - BEFORE, 0) : first, channel]
    so_far = actual[first:row, channel] - expected[first:row, channel]
    before, so_far = before[np.isfinite(before)], so_far[np.isfinite(so_far)]
    seen, guessed = float(actual[row, channel]), float(expected[row, channel])
    if not (len(before) and len(so_far) and np.isfinite([seen, guessed]).all()):
        return False
    usual = float(np.median(before))
    return abs(seen - usual) < abs(guessed - usual) and (seen - guessed) * float(so_far.mean()) < 0


def _contributions(
    share: Floats, expected: Floats, actual: Floats, channels: Sequence[str], top: int
) -> tuple[Contribution, ...]:
    chosen = [int(c) for c in largest(share[None], top)[0] if share[c] > 0]
    return tuple(
        Contribution(channels[c], float(share[c]), _number(expected[c]), _number(actual[c])) for c in chosen
    )


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _moment(us: Any) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(us))
