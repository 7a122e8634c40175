"""Versions, the champion alias, and bundles fetched back: on a real MLflow."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.errors import BundleError, Conflict, DataError, NoChampion
from pipeline.registry import Registry, bundles
from tests.registry.conftest import a_bundle, seal

Publish = Callable[[], int]


def held_by_mlflow(registry: Registry, stream: str, version: int) -> Path:
    source = registry.version(stream, version).source
    return Path(source.removeprefix("file://")) / "artifacts" / "bundle"


def test_a_bundle_is_one_version_that_tells_where_it_comes_from(
    registry: Registry, stream: str, bundle: Path, records: pa.Table
) -> None:
    with registry.run(stream) as run:
        run.metrics({"held_out.error": 0.25})
        tags = {"delta_version": 7, "window": 32, "schema": "entity,time"}
        number = run.bundle(bundle, records.schema, example=records, tags=tags)
    (only,) = registry.versions(stream)
    assert only.version == number == 1
    assert only.run_id == run.id
    assert only.complete
    assert only.digest == bundles.digest(bundle)
    assert only.metrics == {"held_out.error": 0.25}
    assert only.tags["delta_version"] == "7"
    assert only.tags["window"] == "32"
    assert abs((datetime.now(UTC) - only.created).total_seconds()) < 60
    outputs = registry._client.get_run(run.id).outputs.model_outputs
    assert len(outputs) == 1


def test_a_version_has_a_signature_and_pinned_requirements(
    registry: Registry, stream: str, bundle: Path, records: pa.Table
) -> None:
    from mlflow.models import Model

    with registry.run(stream) as run:
        run.bundle(bundle, records.schema, example=records)
    folder = held_by_mlflow(registry, stream, 1).parent.parent
    model = Model.load(str(folder))
    assert model.signature.inputs.input_names() == ["entity", "time", "pressure", "flow"]
    assert "contributions" in model.signature.outputs.input_names()
    needed = (folder / "requirements.txt").read_text().splitlines()
    assert all("==" in line for line in needed)
    assert not any("tensorflow" in line or "airflow" in line for line in needed)
    assert (folder / "code" / "pipeline" / "serving.py").exists()
    assert not list(folder.rglob("*.pyc"))


def test_no_champion_is_none(registry: Registry, stream: str, publish: Publish) -> None:
    assert registry.champion(stream) is None
    assert registry.versions(stream) == []
    publish()
    assert registry.champion(stream) is None


def test_the_promoted_version_is_champion_and_carries_the_decision(
    registry: Registry, stream: str, publish: Publish
) -> None:
    registry.promote(stream, publish(), "first version", over=None)
    champion = registry.champion(stream)
    assert champion is not None
    assert champion.version == 1
    assert champion.aliases == ("champion",)
    assert champion.tags["offbeat.decision"] == "promoted"
    assert champion.tags["offbeat.reason"] == "first version"


def test_a_champion_outlives_its_deleted_run(registry: Registry, stream: str, publish: Publish) -> None:
    registry.promote(stream, publish(), "first", over=None)
    run_id = registry.champion(stream).run_id
    registry._client._tracking_client.store._hard_delete_run(run_id)  # what `mlflow gc` does
    assert registry.champion(stream).version == 1
    assert registry.champion(stream).metrics == {}


def test_all_champions_are_known_at_once(registry: Registry, stream: str, publish: Publish) -> None:
    first, second = publish(), publish()
    assert stream not in registry.champions()
    registry.promote(stream, first, "first", over=None)
    registry.promote(stream, second, "better", over=first)
    found = registry.champions()[stream]
    assert found.version == second
    assert found.created == registry.version(stream, second).created


def test_a_rollback_brings_the_previous_champion_back(
    registry: Registry, stream: str, publish: Publish
) -> None:
    registry.promote(stream, publish(), "first", over=None)
    registry.promote(stream, publish(), "better", over=1)
    assert registry.rollback(stream, "too many alarms").version == 1
    assert registry.champion(stream).tags["offbeat.reason"] == "rollback: too many alarms"
    assert registry.rollback(stream, "not so bad").version == 2


def test_a_rollback_without_an_earlier_champion_is_refused(
    registry: Registry, stream: str, publish: Publish
) -> None:
    with pytest.raises(NoChampion):
        registry.rollback(stream, "why")
    registry.promote(stream, publish(), "first", over=None)
    with pytest.raises(NoChampion):
        registry.rollback(stream, "why")


@pytest.mark.parametrize("over", [None, 2, 99])
def test_a_decision_against_an_old_champion_is_a_conflict(
    registry: Registry, stream: str, publish: Publish, over: int | None
) -> None:
    registry.promote(stream, publish(), "first", over=None)
    second = publish()
    with pytest.raises(Conflict, match=f"champion of {stream} is 1"):
        registry.promote(stream, second, "late", over=over)
    assert registry.champion(stream).version == 1


def test_a_version_that_is_not_whole_is_never_champion(registry: Registry, stream: str) -> None:
    with registry.run(stream):
        pass
    stranger = registry._client.create_model_version(f"offbeat.{stream}", "file:///tmp/stranger")
    with pytest.raises(BundleError, match="no digest"):
        registry.promote(stream, int(stranger.version), "sneaky", over=None)
    with pytest.raises(BundleError, match="no digest"):
        registry.download(stream, int(stranger.version), registry.artifacts)
    assert registry.champion(stream) is None


def test_a_version_that_is_not_there_is_an_error(registry: Registry, stream: str, publish: Publish) -> None:
    publish()
    with pytest.raises(DataError, match=f"version 9 of {stream}"):
        registry.promote(stream, 9, "what", over=None)


def test_a_rejected_version_says_why(registry: Registry, stream: str, publish: Publish) -> None:
    registry.reject(stream, publish(), "not lower: 0.3 against 0.2")
    tags = registry.version(stream, 1).tags
    assert tags["offbeat.decision"] == "rejected"
    assert tags["offbeat.reason"].startswith("not lower")


def test_a_folder_that_is_no_bundle_makes_no_version(
    registry: Registry, stream: str, tmp_path: Path, records: pa.Table
) -> None:
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "passwd").symlink_to("/etc/passwd")
    (tmp_path / "linked" / "DIGEST").touch()
    changed = a_bundle(tmp_path / "changed")
    (changed / "model.onnx").write_bytes(b"cut short")
    for folder in (tmp_path / "nothing", tmp_path / "linked", changed):
        with pytest.raises(BundleError), registry.run(stream) as run:
            run.bundle(folder, records.schema)
    assert registry.versions(stream) == []


def test_a_fetched_bundle_is_the_one_that_was_logged(
    registry: Registry, stream: str, bundle: Path, records: pa.Table, tmp_path: Path
) -> None:
    with registry.run(stream) as run:
        run.bundle(bundle, records.schema, example=records)
    got = registry.download(stream, 1, tmp_path / "cache")
    assert {p.name: p.read_bytes() for p in got.iterdir()} == {
        p.name: p.read_bytes() for p in bundle.iterdir()
    }
    assert [p.name for p in got.parent.iterdir()] == [got.name]


def test_a_bundle_is_fetched_once(registry: Registry, stream: str, publish: Publish, tmp_path: Path) -> None:
    number = publish()
    got = registry.download(stream, number, tmp_path)
    shutil.rmtree(held_by_mlflow(registry, stream, number))
    assert registry.download(stream, number, tmp_path) == got


def test_a_damaged_cache_is_fetched_again(
    registry: Registry, stream: str, publish: Publish, tmp_path: Path
) -> None:
    number = publish()
    for damage in (lambda p: (p / "model.onnx").write_bytes(b"x"), lambda p: (p / "extra.py").touch()):
        damage(registry.download(stream, number, tmp_path))
        healed = registry.download(stream, number, tmp_path)
        assert bundles.digest(healed) == registry.version(stream, number).digest
    assert [p.name for p in (tmp_path / stream).iterdir()] == [healed.name]


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "DIGEST", "sneaked-in.pkl"])
def test_a_bundle_changed_in_the_registry_is_refused(
    registry: Registry, stream: str, publish: Publish, tmp_path: Path, name: str
) -> None:
    number = publish()
    (held_by_mlflow(registry, stream, number) / name).write_bytes(b"poison")
    with pytest.raises(BundleError, match="damaged or exchanged"):
        registry.download(stream, number, tmp_path)
    assert list((tmp_path / stream).iterdir()) == []


def test_a_bundle_exchanged_for_another_whole_one_is_refused(
    registry: Registry, stream: str, publish: Publish, tmp_path: Path
) -> None:
    number = publish()
    folder = held_by_mlflow(registry, stream, number)
    (folder / "model.onnx").write_bytes(b"poison")
    seal(folder)
    with pytest.raises(BundleError, match="the model version says"):
        registry.download(stream, number, tmp_path)
    assert list((tmp_path / stream).iterdir()) == []


def test_many_threads_fetch_one_bundle(
    registry: Registry, stream: str, publish: Publish, tmp_path: Path
) -> None:
    number = publish()
    got: list[Path] = []
    threads = [
        threading.Thread(target=lambda: got.append(registry.download(stream, number, tmp_path)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 8
    assert len(set(got)) == 1
    assert len(list(got[0].parent.iterdir())) == 1
