"""Where state lives: one folder, `.offbeat/` in the project or `OFFBEAT_HOME`. Makes nothing at import."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Home:
    """All of Offbeat's state, and the folder that holds `configs/`."""

    root: Path
    project: Path

    @classmethod
    def find(cls) -> Home:
        """Read `OFFBEAT_HOME` and `OFFBEAT_PROJECT`; both default to the current folder's own."""
        project = Path(os.environ.get("OFFBEAT_PROJECT") or Path.cwd()).resolve()
        return cls(Path(os.environ.get("OFFBEAT_HOME") or project / ".offbeat").resolve(), project)

    @property
    def configs(self) -> Path:
        """Folder of the YAML files; `OFFBEAT_CONFIGS` or `configs/` in the project."""
        return Path(os.environ.get("OFFBEAT_CONFIGS") or self.project / "configs").resolve()

    def table(self, stream: str, name: str) -> str:
        """Folder or URL of a stream's table: `observations`, `rejects` or `scores`."""
        base = os.environ.get("OFFBEAT_TABLES") or str(self.root / "tables")
        return f"{base.rstrip('/')}/{stream}/{name}"

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the database of anomalies and alerts."""
        return os.environ.get("OFFBEAT_DATABASE") or f"sqlite:///{self.root / 'offbeat.db'}"

    @property
    def tracking(self) -> str:
        """MLflow's tracking URI."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.root / 'mlflow' / 'mlflow.db'}"

    @property
    def artifacts(self) -> Path:
        """Where MLflow keeps artifacts when it runs without a server."""
        return self.root / "mlflow" / "artifacts"

    @property
    def bundles(self) -> Path:
        """Cache of downloaded detector bundles."""
        return self.root / "bundles"

    @property
    def tuning(self) -> Path:
        """Where searches for settings are kept, one file for each stream."""
        return self.root / "tuning"

    @property
    def alerts(self) -> Path:
        """What the log receiver writes, and the alerts' pictures."""
        return self.root / "alerts"

    @property
    def page(self) -> Path:
        """What the Anomalies page keeps to be quick; may be deleted at any time."""
        return self.root / "page"

    @property
    def work(self) -> Path:
        """Short-lived files of running steps."""
        return self.root / "work"
