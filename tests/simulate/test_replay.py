"""Public data sets become streams that Offbeat accepts, with labels after the end of what may be learned."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.config.loader import load_project
from pipeline.errors import DataError
from pipeline.simulate import Labels
from pipeline.simulate.replay import REPLAYS, write_replays

DATA = Path(os.environ.get("OFFBEAT_DATA") or Path(__file__).resolve().parents[2] / ".." / "shared" / "data")
needs_data = pytest.mark.skipif(
    not (DATA / "smd").is_dir(),
    reason="no labelled data: set OFFBEAT_DATA to a folder with smd, skab, nab, …",
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Labels]]:
    out = tmp_path_factory.mktemp("replays")
    return out, write_replays(DATA, out)


@needs_data
def test_every_replay_is_a_valid_stream(written: tuple[Path, dict[str, Labels]]) -> None:
    project = load_project(written[0] / "configs")
    assert project.broken == {}
    assert set(project.streams) == set(REPLAYS)
    assert len(project.streams["smd"].channels) == 38
    assert len(project.streams["skab"].channels) == 8


@needs_data
def test_what_is_learned_ends_before_the_first_label(written: tuple[Path, dict[str, Labels]]) -> None:
    out, labels = written
    project = load_project(out / "configs")
    for name, known in labels.items():
        assert known.faults
        assert project.streams[name].training.until == known.normal_until.isoformat()
        for fault in known.faults:
            assert known.normal_until <= fault.start < fault.end <= known.end


@needs_data
def test_a_replay_keeps_every_row(written: tuple[Path, dict[str, Labels]]) -> None:
    _, labels = written
    rows = {name: known.lines for name, known in labels.items()}
    assert rows == {"smd": 47_388, "skab": 9_040, "nab": 10_320, "cards": 296_928}


@needs_data
def test_each_fraud_is_labelled_by_its_transactions(written: tuple[Path, dict[str, Labels]]) -> None:
    _, labels = written
    ids = [i for fault in labels["cards"].faults for i in fault.ids]
    assert len(ids) == len(set(ids)) > 1000


def test_a_folder_without_the_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="DATA must be a folder"):
        write_replays(tmp_path, tmp_path / "out")
