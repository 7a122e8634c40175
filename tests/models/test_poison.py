"""Guarantee 9: a poisoned bundle never loads, nothing in it runs, and the champion keeps scoring."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from pipeline.errors import BundleError
from pipeline.models import sealed
from pipeline.models.bundle import Bundle

_SPEC = importlib.util.spec_from_file_location("offbeat_poison", Path(__file__).with_name("poison.py"))
poison = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(poison)

ADVICE = (
    "train the stream again",
    "download it again",
    "only JSON",
    "are refused",
    "was not in it",
    "plain JSON",
)


@pytest.fixture
def copy(sealed_bundle, tmp_path) -> Path:
    return Path(shutil.copytree(sealed_bundle.folder, tmp_path / "copy"))


def test_the_forger_of_these_tests_spoils_nothing_but_what_it_means_to(copy):
    def nothing(_):
        return None

    poison.edit_manifest(copy)
    poison.edit_config(copy / "model.keras", nothing)
    poison.edit_weights(copy / "model.keras", nothing)
    poison.edit_graph(copy / "model.onnx", nothing)
    poison.reseal(copy)
    assert Bundle.load(copy).length == 16


@pytest.mark.parametrize("name", poison.CORPUS)
def test_a_poisoned_bundle_is_refused_even_with_its_seal_forged(copy, tmp_path, name):
    touch = tmp_path / "it-ran"
    poison.CORPUS[name](copy, touch)
    if name not in {"link_out", "linked_folder", "named_pipe"}:
        poison.reseal(copy)
    with pytest.raises(BundleError) as refused:
        Bundle.load(copy)
    assert not touch.exists()
    assert any(advice in str(refused.value) for advice in ADVICE), str(refused.value)


@pytest.mark.parametrize("name", poison.CORPUS)
def test_a_poisoned_bundle_is_refused_by_the_digest_the_registry_recorded(
    copy, tmp_path, sealed_bundle, name
):
    poison.CORPUS[name](copy, tmp_path / "it-ran")
    with pytest.raises(BundleError):
        Bundle.load(copy, digest=sealed_bundle.digest)


def test_a_whole_bundle_put_in_the_place_of_another_is_refused(copy, sealed_bundle):
    (copy / "detector.json").write_text('{"threshold": 1e9}')
    poison.reseal(copy)
    Bundle.load(copy)  # nothing is wrong with it, but that it is another
    with pytest.raises(BundleError, match=r"digest is [0-9a-f]{64}, the registry recorded [0-9a-f]{64}"):
        Bundle.load(copy, digest=sealed_bundle.digest)


@pytest.mark.parametrize(
    "file", ["model.onnx", "model.keras", "manifest.json", "preparer.json", "detector.json"]
)
def test_any_flipped_bit_is_noticed_and_the_file_named(copy, file):
    data = bytearray((copy / file).read_bytes())
    for position in (0, len(data) // 2, len(data) - 1):
        flipped = data.copy()
        flipped[position] ^= 1
        (copy / file).write_bytes(flipped)
        with pytest.raises(BundleError, match=rf"{file} was changed or cut short"):
            Bundle.load(copy)


def test_a_missing_or_meddled_digest_is_noticed(copy):
    (copy / "DIGEST").write_text((copy / "DIGEST").read_text() + "\n")
    with pytest.raises(BundleError, match="DIGEST is not as Offbeat writes it"):
        Bundle.load(copy)
    (copy / "DIGEST").unlink()
    with pytest.raises(BundleError, match="no detector bundle: it has no DIGEST"):
        Bundle.load(copy)
    with pytest.raises(BundleError, match="is no folder"):
        Bundle.load(copy / "nowhere")


def test_a_file_too_large_is_refused_before_it_is_read(copy, monkeypatch):
    monkeypatch.setattr(sealed, "MAX_FILE", 10_000)
    with pytest.raises(BundleError, match="larger than"):
        Bundle.load(copy)


def test_more_files_than_allowed_are_refused(copy, monkeypatch):
    monkeypatch.setattr(sealed, "MAX_FILES", 3)
    with pytest.raises(BundleError, match="3 at most"):
        Bundle.load(copy)


def test_the_champion_keeps_scoring_while_the_poisoned_are_refused(
    copy, sealed_bundle, make_waves, all_of, same, tmp_path
):
    windows = all_of(make_waves(100, seed=3))
    before = sealed_bundle.reconstructor()(*windows)
    poison.CORPUS["onnx_nan"](copy, tmp_path / "it-ran")
    poison.reseal(copy)
    with pytest.raises(BundleError, match="NaN, infinite"):
        Bundle.load(copy)
    assert same(sealed_bundle.reconstructor()(*windows), before)
