"""Scoring gives one window the same numbers whatever it comes with, and needs no Keras."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import BundleError, DataError
from pipeline.models.reconstruct import BATCH, Reconstructor


@pytest.fixture(scope="module")
def reconstruct(learned):
    return Reconstructor(learned.folder / "model.onnx")


@pytest.mark.parametrize("count", [0, 1, BATCH - 1, BATCH, BATCH + 1, 3 * BATCH + 5])
def test_any_number_of_windows_can_be_scored(reconstruct, make_waves, all_of, count):
    values, mask = (part[:count] for part in all_of(make_waves(1000, seed=6)))
    made = reconstruct(values, mask)
    assert tuple(made) == reconstruct.views
    for found in made.values():
        assert found.shape == values.shape
        assert found.dtype == np.float32
        assert np.isfinite(found).all()


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 299), max_size=8, unique=True), seed=st.integers(0, 99))
def test_scoring_in_chunks_and_in_any_order_equals_scoring_whole(reconstruct, make_waves, all_of, cuts, seed):
    values, mask = (part[:300] for part in all_of(make_waves(700, seed=7)))
    whole = reconstruct(values, mask)
    order = np.random.default_rng(seed).permutation(300)
    parts = [reconstruct(values[part], mask[part]) for part in np.split(order, sorted(cuts))]
    for view in whole:
        assert np.array_equal(np.concatenate([part[view] for part in parts]), whole[view][order])


def test_scoring_again_and_with_other_threads_gives_the_same_bits(
    learned, reconstruct, make_waves, all_of, same
):
    windows = all_of(make_waves(300, seed=8))
    assert same(reconstruct(*windows), reconstruct(*windows))
    alone = Reconstructor((learned.folder / "model.onnx").read_bytes(), threads=1)
    assert same(alone(*windows), reconstruct(*windows))


@pytest.mark.parametrize("shape", [(5, 15, 3), (5, 16, 2), (5, 16)])
def test_windows_of_another_shape_are_refused(reconstruct, shape):
    with pytest.raises(DataError, match=r"do not fit a model of \[n, 16, 3\]"):
        reconstruct(np.zeros(shape, np.float32), np.ones(shape, np.float32))


def test_a_mask_of_another_shape_is_refused(reconstruct):
    with pytest.raises(DataError, match="with mask"):
        reconstruct(np.zeros((5, 16, 3), np.float32), np.ones((4, 16, 3), np.float32))


@pytest.mark.parametrize("graph", [b"", b"no graph", b"\x80\x04]\x94."])
def test_what_is_no_graph_is_refused(graph):
    with pytest.raises(BundleError, match="ONNX Runtime cannot load"):
        Reconstructor(graph)


def test_scoring_imports_no_tensorflow_and_no_keras(sealed_bundle):
    script = f"""
import sys
import numpy as np
from pathlib import Path
from pipeline.models.bundle import Bundle
from pipeline.models.process import train_in_process
from pipeline.models.reconstruct import Reconstructor
bundle = Bundle.load(Path({str(sealed_bundle.folder)!r}), digest={sealed_bundle.digest!r})
bundle.reconstructor("any")(np.zeros((3, 16, 3), np.float32), np.ones((3, 16, 3), np.float32))
imported = {{m.partition(".")[0] for m in sys.modules}}
heavy = imported & {{"tensorflow", "keras", "torch", "jax", "mlflow", "tf2onnx"}}
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
