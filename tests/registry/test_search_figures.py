"""The figures of a search, and runs that are nested and go on: MLflow has what was drawn and done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import Unavailable
from pipeline.registry import Registry, search_figures


def test_a_search_shows_where_it_began_and_the_best_so_far(tmp_path: Path) -> None:
    drawn = search_figures.search([0, 2, 3, 7], [0.4, 0.3, 0.6, 0.5], [0.4, 0.3, 0.5, 0.5])
    [axes] = drawn.axes
    best = next(line for line in axes.lines if line.get_label() == "best so far")
    assert list(best.get_ydata()) == [0.4, 0.4, 0.6, 0.6]
    assert any("0.400" in str(line.get_label()) for line in axes.lines)
    drawn.savefig(tmp_path / "search.png")
    assert (tmp_path / "search.png").stat().st_size > 5000


def test_what_mattered_most_is_on_top() -> None:
    [axes] = search_figures.importances({"model.latent": 0.2, "model.units": 0.7, "window.length": 0.1}).axes
    bars = [(bar.get_y(), bar.get_width()) for bar in axes.patches]
    assert [width for _, width in sorted(bars)] == [0.7, 0.2, 0.1]
    assert axes.yaxis_inverted()
    assert np.isclose(sum(width for _, width in bars), 1)


def test_a_run_goes_on_with_another_in_it(registry: Registry, stream: str) -> None:
    with pytest.raises(Unavailable), registry.run(stream, "tune") as parent:
        raise Unavailable("away")
    assert registry._client.get_run(parent.id).info.status == "FAILED"
    with registry.run(stream, "tune", again=parent.id) as same:
        assert same.id == parent.id
        assert registry._client.get_run(parent.id).info.status == "RUNNING"
        with registry.run(stream, "trial", {"mlflow.runName": "trial 0"}, inside=same.id) as child:
            child.params({"a": 1})
    assert registry._client.get_run(parent.id).info.status == "FINISHED"
    found = registry._client.get_run(child.id)
    assert found.data.tags["mlflow.parentRunId"] == parent.id
    assert found.info.run_name == "trial 0"


def test_a_run_that_mlflow_has_no_more_begins_anew(registry: Registry, stream: str) -> None:
    with registry.run(stream, "tune") as gone:
        pass
    registry._client.delete_run(gone.id)
    with registry.run(stream, "tune", again=gone.id) as new:
        assert new.id != gone.id
    with registry.run(stream, "tune", again="0" * 32) as newer:
        assert newer.id not in {gone.id, new.id}


def test_a_run_whose_process_died_is_buried_and_no_other(registry: Registry, stream: str) -> None:
    with registry.run(stream, "trial") as done:
        pass
    dead = registry._client.create_run(done.experiment).info.run_id
    for run_id in (done.id, dead, "0" * 32):
        registry.bury(run_id)
    assert registry._client.get_run(done.id).info.status == "FINISHED"
    assert registry._client.get_run(dead).info.status == "KILLED"
