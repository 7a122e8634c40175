"""Waves to learn, one small trained model for each architecture, and bundles of some."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from pipeline.config.models import Model, SensorStream
from pipeline.models.bundle import Bundle
from pipeline.models.progress import Trained
from pipeline.models.reconstruct import Views
from pipeline.models.windows import ArrayWindows

LENGTH, CHANNELS = 16, ("pressure", "flow", "current")
NAMES = get_args(Model.model_fields["architecture"].annotation)
BUNDLED = "lstm", "peephole_lstm", "aer"  # the first, one with a class of our own, one with two views


def waves(rows: int, *, seed: int, gaps: float = 0.1) -> ArrayWindows:
    """Three noisy waves of one clock, with gaps, in windows two steps apart."""
    rng = np.random.default_rng(seed)
    clock = np.arange(rows) + rng.uniform(0, 1000)
    values = np.stack([np.sin(clock / 3), np.cos(clock / 3), np.sin(clock / 3) * np.cos(clock / 3)], axis=1)
    values = (values + rng.normal(0, 0.02, values.shape)).astype(np.float32)
    mask = rng.random(values.shape) >= gaps
    return ArrayWindows(values * mask, mask, np.arange(0, rows - LENGTH, 2), LENGTH)


def every(windows: ArrayWindows) -> tuple[np.ndarray, np.ndarray]:
    return windows.gather(np.arange(len(windows)))


def small(architecture: str = NAMES[0], **changes: Any) -> Model:
    return Model(
        **{"architecture": architecture, "units": (16,), "latent": 4, "epochs": 2, "batch_size": 32} | changes
    )


@dataclass(frozen=True)
class Learned:
    """A model that learned the waves, and what it learned them from."""

    config: Model
    folder: Path
    trained: Trained
    train: ArrayWindows
    validation: ArrayWindows
    untouched: bool


def learn(architecture: str, folder: Path) -> Learned:
    from pipeline.models.training import train

    config = small(architecture, units=(24,), latent=6, epochs=15, learning_rate=1e-2)
    data = waves(1500, seed=1), waves(300, seed=2)
    before = [(w.values.copy(), w.mask.copy(), w.starts.copy()) for w in data]
    trained = train(config, *data, folder)
    after = [(w.values, w.mask, w.starts) for w in data]
    same = all(
        np.array_equal(a, b) for x, y in zip(before, after, strict=True) for a, b in zip(x, y, strict=True)
    )
    return Learned(config, folder, trained, *data, untouched=same)


@pytest.fixture(scope="session")
def learn_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Learned]:
    return functools.cache(lambda name: learn(name, tmp_path_factory.mktemp(name)))


@pytest.fixture(scope="session", params=NAMES)
def learned(request: pytest.FixtureRequest, learn_once: Callable[[str], Learned]) -> Learned:
    return learn_once(request.param)


@pytest.fixture(scope="session", params=BUNDLED)
def bundled(request: pytest.FixtureRequest, learn_once: Callable[[str], Learned]) -> Learned:
    return learn_once(request.param)


def a_stream(**changes: Any) -> SensorStream:
    described = {
        "name": "pumps",
        "kind": "sensor",
        "source": {"type": "files", "path": "data"},
        "fields": {"channels": [{"name": c} for c in CHANNELS]},
        "window": {"length": LENGTH},
    }
    return SensorStream.model_validate(described | changes, strict=False)


@pytest.fixture(scope="session")
def stream() -> SensorStream:
    return a_stream()


@pytest.fixture(scope="session")
def sealed_bundle(bundled: Learned, stream: SensorStream, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A good bundle, shared: copy its folder before changing anything."""
    return Bundle.write(
        tmp_path_factory.mktemp("bundles") / "good",
        stream,
        features=CHANNELS,
        preparer={"center": [0.0, 0.5, 1.0]},
        detector={"threshold": 3.5},
        members={"": bundled.folder},
        training={"val_loss": bundled.trained.val_loss},
    )


@pytest.fixture
def make_stream() -> Callable[..., SensorStream]:
    return a_stream


@pytest.fixture
def make_waves() -> Callable[..., ArrayWindows]:
    return waves


@pytest.fixture
def make_config() -> Callable[..., Model]:
    return small


@pytest.fixture
def same() -> Callable[[Views, Views], bool]:
    """Whether two models gave the same views, to the bit."""
    return lambda ours, theirs: (
        ours.keys() == theirs.keys() and all(np.array_equal(ours[view], theirs[view]) for view in ours)
    )


@pytest.fixture
def all_of() -> Callable[[ArrayWindows], tuple[np.ndarray, np.ndarray]]:
    return every
