"""Simulated normal errors of many kinds, and what a detector makes of them."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.signal import lfilter

from pipeline.detect import Detector, HeldOut

MINUTE = 60_000_000
MERGE = 10 * MINUTE
WEEK = 604800


def gaussian(rng, rows, channels):
    return rng.normal(size=(rows, channels))


def heavy(rng, rows, channels):
    return rng.standard_t(3, size=(rows, channels))


def laplace(rng, rows, channels):
    return rng.laplace(size=(rows, channels))


def autocorrelated(rng, rows, channels):
    return lfilter([np.sqrt(1 - 0.81)], [1, -0.9], rng.normal(size=(rows, channels)), axis=0)


def seasonal(rng, rows, channels):
    return rng.normal(size=(rows, channels)) * (1 + 0.8 * np.sin(np.arange(rows) * 2 * np.pi / 1440))[:, None]


def drifting(rng, rows, channels):
    loudness = lfilter([np.sqrt(1 - 0.98**2)], [1, -0.98], rng.normal(size=rows))
    return rng.normal(size=(rows, channels)) * np.exp(0.5 * loudness)[:, None]


def uneven(rng, rows, channels):
    return rng.normal(size=(rows, channels)) * 10.0 ** rng.uniform(-3, 1, channels)


FAMILIES = {f.__name__: f for f in (gaussian, heavy, laplace, autocorrelated, seasonal, drifting, uneven)}


def views(errors):
    """Errors [V, T, C] of errors [T, C] that one view made."""
    errors = np.asarray(errors)
    return errors[None] if errors.ndim == 2 else errors


def held_out(errors, entity="a"):
    return HeldOut(entity, np.arange(views(errors).shape[1]) * MINUTE, views(errors))


def fitted(*errors, per_week=1.0, **settings):
    pieces = [held_out(e, str(i)) for i, e in enumerate(errors)]
    return Detector(**settings).fit(pieces, per_second=per_week / WEEK, merge_us=MERGE, step_us=MINUTE)


def judged(detector, errors):
    return detector.score(views(errors))


def alarms(flag, gap=10):
    at = np.flatnonzero(flag)
    return int(len(at) > 0) + int((np.diff(at) > gap).sum())


@pytest.fixture(scope="session")
def sim():
    return SimpleNamespace(
        alarms=alarms,
        fitted=fitted,
        held_out=held_out,
        judged=judged,
        views=views,
        families=FAMILIES,
        minute=MINUTE,
        merge=MERGE,
        week=WEEK,
    )
