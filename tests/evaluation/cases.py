"""Labelled scores made by integer arithmetic alone, so that every machine has the same."""

import numpy as np


def noise(rows, salt):
    return ((np.arange(rows) * 7919 + salt) % 10007) / 10007


def runs(rows, *spans):
    label = np.zeros(rows, np.int64)
    for first, stop in spans:
        label[first:stop] = 1
    return label


def case(rows, period, spans, salt, lift=0.5, digits=None):
    """Return label, score within 0 and 1, and the signal whose period is the tolerance."""
    label = runs(rows, *spans)
    signal = np.abs(np.arange(rows) % period - period // 2) / period if period else np.ones(rows)
    score = noise(rows, salt) + lift * np.roll(label, 3)
    score = score / score.max()
    return (
        label,
        score if digits is None else np.round(score, digits),
        signal + 0.01 * noise(rows, salt + 1) * bool(period),
    )


CASES = {
    "edges": case(1500, 40, [(0, 30), (700, 760), (1460, 1500)], 11),
    "ties": case(2000, 75, [(300, 340), (1200, 1300)], 5, digits=1),
    "anomalies that meet": case(1200, 120, [(400, 420), (440, 445), (500, 560), (900, 903)], 3),
    "a point, and no period": case(600, 0, [(311, 312)], 17, lift=0.3),
    "fewer rows than thresholds": case(120, 16, [(50, 60)], 23),
    "useless scores": case(900, 60, [(100, 150), (600, 620)], 29, lift=0.0),
}
