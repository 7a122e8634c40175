import pytest

from tests.steps import kit


@pytest.fixture(scope="session")
def _learned(tmp_path_factory):
    return kit.trained(tmp_path_factory.mktemp("learned") / "plant")


@pytest.fixture
def home(_learned, tmp_path, monkeypatch):
    """A plant that has learned two normal days, all its own: MLflow's artifacts know where they lie."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", _learned.tracking)  # versions are read, never written
    return kit.copy(_learned, tmp_path / "plant")
