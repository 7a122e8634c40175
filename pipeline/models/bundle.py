"""The detector bundle: one folder with all that scoring a stream needs, and nothing that can run.

In: trained models, and the preparer and the detector as plain data. Out: a folder that says what it is and
is sealed by a digest; read back, everything is checked before anything is used. No Keras is imported.

    manifest.json           what it is for, and each file's size and sha256
    preparer.json           what preparing learned: scaling, features
    detector.json           what calibration learned: thresholds
    model.onnx, .keras      the stream's model; or one for each entity, models/<hash>.onnx and .keras
    DIGEST                  sha256 of each file; its own is the bundle's digest
"""

from __future__ import annotations

import os
import shutil
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.config.models import Stream, parse_stream
from pipeline.errors import BundleError
from pipeline.models import keras_file, onnx_file, sealed, strict_json
from pipeline.models.manifest import RETRAIN, describe, plain, read, stem_of
from pipeline.models.reconstruct import Reconstructor

_PLAIN = ("preparer.json", "detector.json")
_KEPT = 64  # reconstructors in memory at most


@dataclass(frozen=True)
class Bundle:
    """A verified detector bundle.

    Example:
        >>> bundle = Bundle.load(Path("bundle"), digest=recorded, stream=stream)  # doctest: +SKIP
        >>> bundle.reconstructor("pump-1")(values, mask)["reconstruction"].shape  # doctest: +SKIP
        (1200, 32, 8)
    """

    folder: Path
    digest: str
    """64 hex digits that name this bundle and no other."""
    manifest: dict[str, Any]
    preparer: dict[str, Any]
    detector: dict[str, Any]
    _cache: OrderedDict[tuple[str, int | None], Reconstructor] = field(
        default_factory=OrderedDict, repr=False, compare=False
    )

    @classmethod
    def write(
        cls,
        folder: Path,
        stream: Stream,
        *,
        features: Sequence[str],
        preparer: Mapping[str, Any],
        detector: Mapping[str, Any],
        members: Mapping[str, Path],
        training: Mapping[str, Any] | None = None,
    ) -> Bundle:
        """Write a bundle, whole or not at all, and read it back as scoring will.

        Args:
            folder: Where to; must not exist yet.
            stream: The stream it detects anomalies in.
            features: Names of the model's features, in order.
            preparer: What preparing learned, JSON-able.
            detector: What calibration learned, JSON-able.
            members: Folder with `model.keras` and `model.onnx` for each entity; "" is the stream's model.
            training: Summary of the training, JSON-able.

        Raises:
            BundleError: If a part is not JSON, holds NaN, or a model does not fit.
        """
        part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            _fill(part, describe(stream, features, members, training or {}), preparer, detector, members)
            sealed.seal(part)
            bundle = cls.load(part, stream=stream)
            part.rename(folder)
        except OSError as error:
            raise BundleError(f"cannot write the bundle to {folder}: {error.strerror}") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return replace(bundle, folder=folder)

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        digest: str | None = None,
        stream: Stream | None = None,
        expect_channels: Sequence[str] | None = None,
        kind: str | None = None,
    ) -> Bundle:
        """Read a bundle and check all of it.

        Args:
            folder: Where it lies.
            digest: The digest the registry recorded; without it, only damage is noticed, not exchange.
            stream: What it is to be used for: name, kind, channels and window length must match.
            expect_channels: Channels it must have, in order; the stream's when None.
            kind: `sensor` or `transaction`; the stream's when None.

        Raises:
            BundleError: Saying what is wrong, and what to do.
        """
        found, sums = sealed.verify(Path(folder), digest)
        manifest = read(Path(folder), sums)
        preparer, detector = (plain(Path(folder), name) for name in _PLAIN)
        bundle = cls(Path(folder), found, manifest, preparer, detector)
        bundle._check_files(sums)
        bundle._check_models()
        bundle._check_use(stream, expect_channels, kind)
        return bundle

    @property
    def stream(self) -> Stream:
        """The stream's configuration as it was in training, for whoever has no YAML: MLflow's serving.

        Raises:
            BundleError: If this release reads configurations differently.
        """
        try:
            return parse_stream(strict_json.dump(self.manifest["config"], "config"))
        except ValueError as error:
            raise BundleError(f"the bundle's stream configuration cannot be read: {RETRAIN}") from error

    @property
    def entities(self) -> tuple[str, ...]:
        """Entities that have a model of their own."""
        return tuple(e for e in self.manifest["members"] if e)

    @property
    def length(self) -> int:
        """Steps in a window."""
        return int(self.manifest["window"]["length"])

    def reconstructor(self, entity: str = "", threads: int | None = None) -> Reconstructor:
        """Return what reconstructs the windows of `entity`: its own model, or else the stream's.

        Raises:
            BundleError: If there is neither, or the file changed since it was checked.
        """
        members = self.manifest["members"]
        stem = members.get(entity, members.get(""))
        if stem is None:
            raise BundleError(
                f"the bundle has no model for entity {entity!r}: train the stream again to add it"
            )
        found = self._cache.pop((stem, threads), None) or Reconstructor(self._read(f"{stem}.onnx"), threads)
        self._cache[stem, threads] = found
        while len(self._cache) > _KEPT:
            self._cache.popitem(last=False)
        return found

    def _read(self, path: str) -> bytes:
        data = sealed.read(self.folder, path)
        if sealed.sha256(data) != self.manifest["files"][path]["sha256"]:
            raise BundleError(f"the bundle's {path} was changed while it was in use: download it again")
        return data

    def _check_files(self, sums: Mapping[str, str]) -> None:
        members = self.manifest["members"]
        if strange := [e for e, stem in members.items() if stem != stem_of(e)]:
            raise BundleError(
                f"the manifest keeps the model of {strange[0]!r} where it does not belong: {RETRAIN}"
            )
        models = {f"{stem}{end}" for stem in members.values() for end in (".keras", ".onnx")}
        if wrong := (models | {*_PLAIN, "manifest.json"}) ^ sums.keys():
            raise BundleError(f"the bundle lacks, or should not have, {sorted(wrong)[:5]}: {RETRAIN}")

    def _check_models(self) -> None:
        shape = self.length, len(self.manifest["features"])
        views: set[tuple[str, ...]] = set()
        for stem in self.manifest["members"].values():
            for end, inspect in ((".onnx", onnx_file.inspect), (".keras", keras_file.inspect)):
                try:
                    views.add(inspect(self._read(stem + end), *shape))
                except BundleError as error:
                    raise BundleError(f"the bundle's {stem}{end} is refused: {error}; {RETRAIN}") from error
        if len(views) > 1:
            raise BundleError(f"the bundle's models do not give the same, but {sorted(views)}: {RETRAIN}")

    def _check_use(self, stream: Stream | None, channels: Sequence[str] | None, kind: str | None) -> None:
        has: dict[str, Any] = {name: self.manifest[name] for name in ("stream", "kind", "channels")}
        has |= {f"window {key}": value for key, value in self.manifest["window"].items()}
        has["hidden rows"] = self.manifest["model"].get("hide", 0)
        wanted: dict[str, Any] = {}
        if stream:
            window = stream.window.model_dump(mode="json")
            wanted = {"stream": stream.name, "kind": stream.kind, "channels": list(stream.channels)}
            wanted |= {f"window {key}": value for key, value in window.items()}
            wanted["hidden rows"] = stream.model.hide
        wanted |= {"channels": list(channels)} if channels is not None else {}
        wanted |= {"kind": kind} if kind is not None else {}
        for what, value in wanted.items():
            if has.get(what) != value:
                raise BundleError(
                    f"the bundle is for {what} {has.get(what)}, the stream has {value}: {RETRAIN}"
                )


def _fill(
    part: Path,
    manifest: dict[str, Any],
    preparer: Mapping[str, Any],
    detector: Mapping[str, Any],
    members: Mapping[str, Path],
) -> None:
    for entity, trained in members.items():
        (part / stem_of(entity)).parent.mkdir(exist_ok=True)
        for end in (".keras", ".onnx"):
            shutil.copyfile(Path(trained) / f"model{end}", part / (stem_of(entity) + end))
    for name, content in zip(_PLAIN, (preparer, detector), strict=True):
        (part / name).write_bytes(strict_json.dump(content, name))
    files = {path: sealed.read(part, path) for path in sealed.listing(part)}
    manifest["files"] = {path: {"sha256": sealed.sha256(d), "bytes": len(d)} for path, d in files.items()}
    (part / "manifest.json").write_bytes(strict_json.dump(manifest, "manifest.json"))
