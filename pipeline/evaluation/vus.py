"""VUS-PR: the volume under the precision-recall surface over all tolerances about an anomaly's edges.

In: labels and scores, row by row. Out: one number, 0 to 1; and the tolerance that fits a signal.

Paparrizos, Boniol, Palpanas, Tsay, Elmore, Franklin: "Volume Under the Surface: A New Accuracy Evaluation
Measure for Time-Series Anomaly Detection", PVLDB 15(11), 2022. The figures are those of TSB-AD 1.5's
`generate_curve(label, score, window, "opt", 250)`; what it finds in 250 passes over the rows for each
tolerance is found here in one, by the first threshold that each row passes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.ranges import Ints, runs

THRESHOLDS = 250
FALLBACK = 125
"""Tolerance where a signal has no period of its own."""
_LAGS, _FIRST, _ROWS = 400, 3, 20_000
_LEAST, _MOST = 3, 300

Floats = NDArray[np.float64]


def vus_pr(label: NDArray[Any], score: NDArray[Any], window: int, thresholds: int = THRESHOLDS) -> float:
    """Return the volume under the surface of precision over recall.

    Args:
        label: true or 1 where a row is anomalous [N]; at least one row is.
        score: high is anomalous [N], finite.
        window: the widest tolerance, rows: half of it on either side of an anomaly.
        thresholds: how many, spread evenly over the ranks of the scores.

    Raises:
        ValueError: no row is anomalous, or a score is not finite.
    """
    truth, values = np.asarray(label).astype(bool), np.asarray(score, np.float64)
    if not truth.any() or not np.isfinite(values).all():
        raise ValueError("a volume needs anomalous rows, and a finite score for every row")
    passes, predicted = _ranks(values, thresholds)
    first, last = runs(truth)
    hits = np.cumsum(np.bincount(passes[truth], minlength=thresholds)).astype(np.float64)
    near = _near(first, last, window // 2, len(truth))
    place = np.cumsum(near) - 1  # of a row among those near an anomaly
    surface = [
        _area(
            _weights(first, last, width, near, place, truth), passes, near, hits, predicted,
            _found(*_widened(first, last, width // 2, len(truth)), passes, thresholds), int(truth.sum()),
        )
        for width in range(window + 1)
    ]  # fmt: skip
    return float(np.mean(surface))


def usual_period(signal: NDArray[Any]) -> int:
    """Return the lag at which a signal resembles itself most, as TSB-AD's `find_length_rank(signal, 1)`.

    The highest local maximum of the autocorrelation of the first 20,000 rows, 6 to 303 rows; 125 where there
    is none. It is the tolerance that the benchmark judges a series by, taken from its first channel.
    """
    similar = _autocorrelation(np.nan_to_num(np.asarray(signal, np.float64)[:_ROWS], posinf=0, neginf=0))[
        _FIRST:
    ]
    inner = similar[1:-1]
    peaks = np.flatnonzero((inner > similar[:-2]) & (inner > similar[2:])) + 1
    if not len(peaks):
        return FALLBACK
    best = int(peaks[np.argsort(similar[peaks])[-1]])
    return best + _FIRST if _LEAST <= best <= _MOST else FALLBACK


def _ranks(score: Floats, thresholds: int) -> tuple[Ints, Floats]:
    """Return the first threshold that each row passes [N], and how many rows pass each threshold."""
    chosen = np.linspace(0, len(score) - 1, thresholds).astype(int)
    levels = np.sort(-score)[chosen]
    passes = np.searchsorted(levels, -score)
    count = np.bincount(passes, minlength=thresholds + 1)[:thresholds]
    return passes, np.cumsum(count).astype(np.float64)


def _near(first: Ints, last: Ints, half: int, rows: int) -> NDArray[np.bool_]:
    """Say which rows lie in an anomaly, or at most `half` rows from one."""
    steps = np.zeros(rows + 1, np.int64)
    np.add.at(steps, np.maximum(first - half, 0), 1)
    np.add.at(steps, np.minimum(last + half, rows - 1) + 1, -1)
    return np.cumsum(steps[:-1]) > 0


def _weights(
    first: Ints, last: Ints, width: int, near: NDArray[np.bool_], place: Ints, truth: NDArray[np.bool_]
) -> Floats:
    """Return how anomalous the near rows count as, outside anomalies: less with distance, 1 at most."""
    away = np.arange(1, width // 2 + 1)
    rows = np.concatenate([(last[:, None] + away).ravel(), (first[:, None] - away).ravel()])
    fade = np.tile(np.sqrt(1 - away / max(width, 1)), 2 * len(first))
    inside = (rows >= 0) & (rows < len(truth))
    made = np.bincount(place[rows[inside]], fade[inside], minlength=int(near.sum()))
    return np.where(truth[near], 0.0, np.minimum(made, 1.0))


def _widened(first: Ints, last: Ints, half: int, rows: int) -> tuple[Ints, Ints]:
    """Widen anomalies by `half` rows on either side, and join those that meet."""
    apart = last[:-1] + half < first[1:] - half
    begin = np.maximum(first[np.append(True, apart)] - half, 0)
    return begin, np.minimum(last[np.append(apart, True)] + half, rows - 1)


def _found(begin: Ints, end: Ints, passes: Ints, thresholds: int) -> Floats:
    """Return the share of ranges in which some row passes, for each threshold."""
    bounds = np.stack([begin, np.minimum(end + 1, len(passes))], axis=1).ravel()
    earliest = np.minimum.reduceat(np.append(passes, thresholds), bounds)[::2]
    count = np.bincount(earliest, minlength=thresholds + 1)[:thresholds]
    return np.cumsum(count) / len(begin)


def _area(
    weight: Floats, passes: Ints, near: NDArray[np.bool_], hits: Floats, predicted: Floats, found: Floats,
    anomalous: int,
) -> float:  # fmt: skip
    """Return the area under precision over recall, for one tolerance."""
    tolerated = np.cumsum(np.bincount(passes[near], weight, minlength=len(hits)))[: len(hits)]
    right = hits + tolerated
    recall = np.minimum(right / (anomalous + tolerated / 2), 1) * found
    return float(np.dot(np.diff(recall, prepend=0.0), right / predicted))


def _autocorrelation(signal: Floats) -> Floats:
    """Return the autocorrelation at lags 0 to 400; all NaN for a signal that does not move."""
    centred = signal - signal.mean()
    size = 2 ** int(np.ceil(np.log2(2 * len(signal) + 1)))
    spectrum = np.fft.rfft(centred, size)
    lags = np.fft.irfft(spectrum * np.conj(spectrum), size)[: min(_LAGS + 1, len(signal))]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(lags / lags[0], np.float64)
