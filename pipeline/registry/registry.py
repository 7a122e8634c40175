"""The registry of one MLflow: runs, versions of each stream's detector, and which one is champion.

In: stream names, decisions. Out: runs to log to, versions, local bundle folders, links for people.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import BundleError, Conflict, NoChampion
from pipeline.registry import bundles, versions
from pipeline.registry.lifecycle import PARENT, running
from pipeline.registry.runs import Run, clean
from pipeline.registry.tracking import SQLITE, connect, database, held, pages, translated, unless_missing
from pipeline.registry.versions import CHAMPION, PREFIX, PREVIOUS, Version, model_name, stream_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


class Registry:
    """One MLflow. Nothing is opened or imported before the first use.

    Args:
        tracking: `sqlite:///…` or `http://…`.
        artifacts: Folder for artifacts when `tracking` is SQLite, and for locks.
    """

    def __init__(self, tracking: str, artifacts: Path) -> None:
        self.tracking, self.artifacts = tracking, artifacts

    @cached_property
    def _client(self) -> MlflowClient:
        return connect(self.tracking, self._lock("open"))

    def _lock(self, name: str) -> Path:
        """Return a lock file that all processes of this machine that use this MLflow share."""
        if self.tracking.startswith(SQLITE):
            file = database(self.tracking).absolute()
            return file.with_name(f".{file.name}.{name}.lock")
        mark = hashlib.sha256(self.tracking.encode()).hexdigest()[:12]
        return self.artifacts / f".{mark}.{name}.lock"

    # -- runs

    @contextmanager
    def run(
        self,
        stream: str,
        kind: str = "train",
        tags: Mapping[str, Any] | None = None,
        *,
        inside: str | None = None,
        again: str | None = None,
    ) -> Iterator[Run]:
        """Open a run in the stream's experiment for the length of the block.

        A block that raises ends the run as FAILED (KILLED for an interrupt), with the reason in its tag
        `offbeat.failure`. System metrics are read each second.

        Args:
            stream: Name of the stream.
            kind: What the run is: `train`, `tune`, `trial`.
            tags: More tags for it.
            inside: Id of the run that it is nested in.
            again: Id of a run that ended or died and now goes on; a new one if MLflow has it no more.

        Raises:
            Unavailable: MLflow does not answer.
        """
        local = self.tracking.startswith(SQLITE)
        artifacts = (self.artifacts / stream).absolute().as_uri() if local else None
        nested = {PARENT: inside} if inside else {}
        with running(self._client, stream, kind, {**(tags or {}), **nested}, artifacts, again) as run:
            yield run

    def bury(self, run_id: str) -> None:
        """End a run whose process died as KILLED, if it still says that it is running."""
        with translated("end the run"):
            found = unless_missing(lambda: self._client.get_run(run_id))
            if found and found.info.status == "RUNNING":
                self._client.set_tag(run_id, "offbeat.failure", "its process died")
                self._client.set_terminated(run_id, "KILLED")

    # -- versions

    def champion(self, stream: str) -> Version | None:
        """Return the version that scores, or None if there is none yet."""
        return self._aliased(stream, CHAMPION)

    def champions(self) -> dict[str, Version]:
        """Return the champions of all streams that have one, by stream, in two questions; without metrics."""
        with translated("list champions"):
            models = pages(self._client.search_registered_models)
            best = {m.name: int(m.aliases[CHAMPION]) for m in models if CHAMPION in m.aliases}
            found = pages(self._client.search_model_versions) if best else []
            return {
                stream_of(raw.name): versions.read(raw, {})
                for raw in found
                if best.get(raw.name) == int(raw.version) and raw.name.startswith(PREFIX)
            }

    def versions(self, stream: str) -> list[Version]:
        """Return all versions of a stream's detector, newest first."""
        with translated("list versions"):
            found = self._client.search_model_versions(f"name = '{model_name(stream)}'")
            whole = [self._client.get_model_version(v.name, v.version) for v in found]  # with aliases
            return sorted(map(self._read, whole), key=lambda v: -v.version)

    def version(self, stream: str, number: int) -> Version:
        """Return one version.

        Raises:
            DataError: there is no such version.
        """
        with translated(f"find version {number} of {stream}"):
            return self._read(self._client.get_model_version(model_name(stream), str(number)))

    def _aliased(self, stream: str, alias: str) -> Version | None:
        name = model_name(stream)
        with translated(f"find the {alias} of {stream}"):
            found = unless_missing(lambda: self._client.get_model_version_by_alias(name, alias))
            return self._read(found) if found else None

    def _read(self, raw: ModelVersion) -> Version:
        """Return a version with its run's metrics; it stays usable when somebody has deleted the run."""
        run = unless_missing(lambda: self._client.get_run(str(raw.run_id))) if raw.run_id else None
        return versions.read(raw, run.data.metrics if run else {})

    # -- promotion

    def promote(self, stream: str, version: int, reason: str, *, over: int | None) -> Version:
        """Make `version` the champion, if the champion is still the one it was judged against.

        1. under a lock of this machine, the champion is read again; 2. alias `previous` is set to it;
        3. alias `champion` is moved; 4. the version is tagged with the decision; 5. the alias is read
        back. Over HTTP from several machines the caller holds a lease besides.

        Args:
            stream: Name of the stream.
            version: Version to promote.
            reason: The gate's reason, for people.
            over: Champion the gate compared with; None: there was none.

        Raises:
            Conflict: another promotion came first.
            BundleError: the version is not whole.
        """
        with held(self._lock(f"promote-{stream}")):
            self._check(stream, version, over)
            self._move(stream, version, reason, over)
            return self._confirmed(stream, version)

    def _check(self, stream: str, version: int, over: int | None) -> None:
        if not self.version(stream, version).complete:
            raise BundleError(f"version {version} of {stream} carries no digest: it is not one of ours")
        champion = self.champion(stream)
        if (champion.version if champion else None) != over:
            now = champion.version if champion else "none"
            raise Conflict(
                f"champion of {stream} is {now}, version {version} was judged against {over or 'none'}"
            )

    def _move(self, stream: str, version: int, reason: str, over: int | None) -> None:
        name, client = model_name(stream), self._client
        with translated(f"promote version {version} of {stream}"):
            if over is not None and over != version:
                client.set_registered_model_alias(name, PREVIOUS, str(over))
            client.set_registered_model_alias(name, CHAMPION, str(version))
            client.set_model_version_tag(name, str(version), "offbeat.decision", "promoted")
            client.set_model_version_tag(name, str(version), "offbeat.reason", clean(reason))

    def _confirmed(self, stream: str, version: int) -> Version:
        champion = self.champion(stream)
        if champion is None or champion.version != version:
            raise Conflict(f"version {version} of {stream} was promoted, and replaced at once")
        return champion

    def reject(self, stream: str, version: int, reason: str) -> None:
        """Tag a version that the gate turned down with the reason."""
        name = model_name(stream)
        with translated(f"tag version {version} of {stream}"):
            self._client.set_model_version_tag(name, str(version), "offbeat.decision", "rejected")
            self._client.set_model_version_tag(name, str(version), "offbeat.reason", clean(reason))

    def tell(self, stream: str, version: int, facts: Mapping[str, float | None]) -> None:
        """Say what came of a version in use: metrics of the run that trained it, and tags of its own."""
        name, known = model_name(stream), {k: v for k, v in facts.items() if v is not None}
        with translated(f"tag version {version} of {stream}"):
            found = unless_missing(lambda: self._client.get_model_version(name, str(version)))
            if found is None:
                return
            for key, value in known.items():
                self._client.set_model_version_tag(name, str(version), f"offbeat.{key}", f"{value:.4g}")
            if run := unless_missing(lambda: self._client.get_run(str(found.run_id))):
                Run(self._client, stream, run.info.experiment_id, run.info.run_id).metrics(known)

    def rollback(self, stream: str, reason: str) -> Version:
        """Make the champion before this one champion again; a second rollback undoes the first.

        Raises:
            NoChampion: there is no earlier champion.
            Conflict: a promotion came first.
        """
        previous, champion = self._aliased(stream, PREVIOUS), self.champion(stream)
        if previous is None or champion is None:
            raise NoChampion(f"{stream} has no earlier champion to go back to")
        return self.promote(stream, previous.version, f"rollback: {reason}", over=champion.version)

    # -- bundles and links

    def download(self, stream: str, version: int, cache: Path) -> Path:
        """Return a local folder with the version's bundle, fetched once and checked each time.

        Args:
            stream: Name of the stream.
            version: Version to fetch.
            cache: Folder for bundles; the answer is `cache/<stream>/<version>-<digest>`.

        Raises:
            BundleError: what the registry holds does not have the digest on the version.
        """
        found = self.version(stream, version)
        if not found.complete:
            raise BundleError(f"version {version} of {stream} carries no digest: it is not one of ours")
        home = cache / stream / f"{version}-{found.digest[:12]}"
        if not bundles.intact(home, found.digest):
            bundles.clear(home)
            self._fetch(stream, found, home)
        return home

    def _fetch(self, stream: str, version: Version, home: Path) -> None:
        import mlflow.artifacts

        home.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".fetch-", dir=home.parent))
        uri = f"{version.source}/artifacts/{bundles.ARTIFACT}"
        try:
            with translated(f"fetch version {version.version} of {stream}"):
                got = mlflow.artifacts.download_artifacts(
                    artifact_uri=uri, dst_path=str(work), tracking_uri=self.tracking
                )
            bundles.settle(Path(got), version.digest, home)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def figure(self, run_id: str, name: str, folder: Path) -> Path:
        """Fetch the figure that a run logged as `name` into `folder`; return the file."""
        with translated(f"fetch figure {name}"):
            return Path(self._client.download_artifacts(run_id, f"figures/{name}.png", str(folder)))

    def links(self, run_id: str, base_url: str) -> dict[str, str]:
        """Return addresses for people in MLflow's page at `base_url`: `run`, `experiment`, `model`."""
        with translated("find the run"):
            run = self._client.get_run(run_id)
        base = f"{base_url.rstrip('/')}/#"
        experiment = f"{base}/experiments/{run.info.experiment_id}"
        links = {"experiment": experiment, "run": f"{experiment}/runs/{run_id}"}
        stream = run.data.tags.get("offbeat.stream")
        return links | ({"model": f"{base}/models/{model_name(stream)}"} if stream else {})
