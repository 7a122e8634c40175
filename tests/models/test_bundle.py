"""The bundle: what was written is what is read, for the stream it was made for, or not at all."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from pipeline import clock
from pipeline.errors import BundleError
from pipeline.models.bundle import Bundle

CHANNELS = ("pressure", "flow", "current")


@pytest.fixture
def write(bundled, stream, tmp_path):
    def write(name="bundle", **changes) -> Bundle:
        parts = {"features": CHANNELS, "preparer": {}, "detector": {}, "members": {"": bundled.folder}}
        return Bundle.write(tmp_path / name, changes.pop("stream", stream), **(parts | changes))

    return write


def test_what_was_written_is_what_is_read(sealed_bundle, stream):
    back = Bundle.load(sealed_bundle.folder, digest=sealed_bundle.digest, stream=stream)
    assert back == sealed_bundle
    assert back.preparer == {"center": [0.0, 0.5, 1.0]}
    assert back.detector == {"threshold": 3.5}
    assert back.manifest["channels"] == list(CHANNELS)
    assert back.manifest["window"]["length"] == back.length == 16
    assert back.manifest["training"]["val_loss"] > 0
    assert set(back.manifest["versions"]) >= {"python", "keras", "onnxruntime"}


def test_the_stream_can_be_read_from_the_bundle_alone(sealed_bundle, stream):
    assert sealed_bundle.stream == stream


def test_the_same_parts_at_the_same_time_have_the_same_digest(write):
    with clock.frozen(datetime(2026, 2, 28, tzinfo=UTC)):
        one, same = write("a"), write("b")
        other = write("c", detector={"threshold": 1})
    assert one.digest == same.digest != other.digest
    assert one.manifest["created"] == "2026-02-28T00:00:00+00:00"
    assert len(one.digest) == 64


def test_a_bundle_moved_elsewhere_is_the_same_bundle(sealed_bundle, tmp_path):
    shutil.copytree(sealed_bundle.folder, tmp_path / "there")
    assert Bundle.load(tmp_path / "there").digest == sealed_bundle.digest


def test_it_reconstructs_as_the_model_it_was_made_of(sealed_bundle, bundled, make_waves, all_of, same):
    from pipeline.models.reconstruct import Reconstructor

    windows = all_of(make_waves(200, seed=3))
    whole = Reconstructor(bundled.folder / "model.onnx")(*windows)
    assert same(sealed_bundle.reconstructor()(*windows), whole)
    assert sealed_bundle.reconstructor("anyone") is sealed_bundle.reconstructor()


def test_each_entity_has_its_own_model_and_a_name_leads_nowhere_else(write, bundled):
    names = ["pump-1", "../../etc/passwd", "Pumpe Süd / 2", ""]
    bundle = write(members=dict.fromkeys(names, bundled.folder))
    assert set(bundle.entities) == set(names) - {""}
    assert len({id(bundle.reconstructor(n)) for n in names}) == len(names)
    assert bundle.reconstructor("new") is bundle.reconstructor("")
    files = sorted(str(p.relative_to(bundle.folder)) for p in bundle.folder.rglob("*.onnx"))
    assert len(files) == 4
    assert all(f == "model.onnx" or f.startswith("models/") for f in files)


def test_an_entity_without_a_model_is_said(write, bundled):
    bundle = write(members={"pump-1": bundled.folder})
    with pytest.raises(BundleError, match=r"no model for entity 'pump-9': train the stream again"):
        bundle.reconstructor("pump-9")


@pytest.mark.parametrize(
    "bad", [{"a": float("nan")}, {"a": {1, 2}}, {"a": np.float32(1)}, {"a": float("inf")}]
)
def test_what_is_not_plain_finite_json_is_not_written(write, tmp_path, bad):
    with pytest.raises(BundleError, match=r"detector.json cannot be written as plain JSON"):
        write(detector=bad)
    assert not list(tmp_path.iterdir())


def test_a_model_that_does_not_fit_is_not_written(write, tmp_path):
    with pytest.raises(BundleError, match=r"model.onnx is refused: its inputs are"):
        write(features=("pressure", "flow"))
    assert not list(tmp_path.iterdir())


def test_a_bundle_is_never_written_over_another(write):
    first = write()
    with pytest.raises(BundleError, match="cannot write the bundle"):
        write(detector={"threshold": 2})
    assert Bundle.load(first.folder).digest == first.digest


def test_a_write_that_was_killed_leaves_no_bundle_behind(write, tmp_path):
    half = tmp_path / f".bundle.{os.getpid()}.part"
    half.mkdir()
    (half / "model.onnx").write_bytes(b"half")
    assert write().reconstructor() is not None
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "fans"}, "for stream pumps, the stream has fans"),
        ({"window": {"length": 32}}, "for window length 16, the stream has 32"),
        (
            {"fields": {"channels": [{"name": "flow"}, {"name": "pressure"}, {"name": "current"}]}},
            "for channels",
        ),
        ({"fields": {"channels": [{"name": "flow"}]}}, "for channels"),
    ],
)
def test_a_bundle_of_another_stream_is_refused(sealed_bundle, make_stream, change, said):
    with pytest.raises(BundleError, match=rf"{said}.*: train the stream again, or promote another version"):
        Bundle.load(sealed_bundle.folder, stream=make_stream(**change))


@pytest.mark.parametrize("expected", [{"expect_channels": ("flow",)}, {"kind": "transaction"}])
def test_channels_and_kind_can_be_asked_for_alone(sealed_bundle, expected):
    with pytest.raises(BundleError, match="the bundle is for"):
        Bundle.load(sealed_bundle.folder, **expected)
    Bundle.load(sealed_bundle.folder, expect_channels=CHANNELS, kind="sensor")


def test_a_file_changed_after_the_check_is_not_used(write):
    bundle = write()
    path = bundle.folder / "model.onnx"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(BundleError, match="was changed while it was in use"):
        bundle.reconstructor()


def test_the_manifest_lists_each_file(sealed_bundle):
    manifest = json.loads((sealed_bundle.folder / "manifest.json").read_bytes())
    sizes = {path: entry["bytes"] for path, entry in manifest["files"].items()}
    listed = {p.name: p.stat().st_size for p in Path(sealed_bundle.folder).iterdir()}
    assert sizes == {n: s for n, s in listed.items() if n not in {"manifest.json", "DIGEST"}}
