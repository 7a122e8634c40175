"""A run on a real MLflow: what was logged is there, and no more."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipeline import log
from pipeline.registry import Registry, Run, figures

START = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2026, 2, 1, tzinfo=UTC)
YAML = "kind: sensor\nfields:\n  channels: [pressure]\n"


def stored(registry: Registry, run: Run):
    return registry._client.get_run(run.id)


def history(registry: Registry, run: Run, metric: str) -> list[tuple[int, float]]:
    found = registry._client.get_metric_history(run.id, metric)
    return sorted((m.step, m.value) for m in found)


def artifact(registry: Registry, run: Run, path: str) -> Path:
    return Path(registry._client.download_artifacts(run.id, path))


def test_parameters_are_flattened_and_long_ones_cut(registry: Registry, stream: str) -> None:
    many = {f"p{i}": i for i in range(250)}
    with registry.run(stream) as run:
        run.params({"model": {"units": (64, 32), "deep": {"er": None}}, "long": "x" * 9000, "odd?key": 1})
        run.params(many)
    params = stored(registry, run).data.params
    assert params["model.units"] == "(64, 32)"
    assert params["model.deep.er"] == ""
    assert params["odd_key"] == "1"
    assert len(params["long"]) == 6000
    assert {k: params[k] for k in many} == {k: str(v) for k, v in many.items()}


def test_every_epoch_has_its_losses_and_learning_rate(registry: Registry, stream: str) -> None:
    epochs = [{"epoch": i, "loss": 1 / i, "val_loss": 2 / i, "learning_rate": 1e-3} for i in (1, 2, 3)]
    with registry.run(stream) as run:
        for record in epochs:
            run.epoch(record)
    assert history(registry, run, "loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert history(registry, run, "val_loss") == [(1, 2.0), (2, 1.0), (3, 2 / 3)]
    assert [v for _, v in history(registry, run, "learning_rate")] == [1e-3] * 3
    assert "epoch" not in stored(registry, run).data.metrics


def test_numbers_that_are_none_or_nan_do_no_harm(registry: Registry, stream: str) -> None:
    with registry.run(stream) as run:
        run.metrics({"none": None, "nan": math.nan, "numpy": np.float32(0.5)})
    metrics = stored(registry, run).data.metrics
    assert "none" not in metrics
    assert math.isnan(metrics["nan"])
    assert metrics["numpy"] == 0.5


def test_system_metrics_are_read_while_the_run_lasts(registry: Registry, stream: str) -> None:
    with registry.run(stream) as run:
        time.sleep(2.5)
    assert len(history(registry, run, "system/cpu_utilization_percentage")) >= 2


def test_the_dataset_carries_its_delta_version_and_time_range(
    registry: Registry, stream: str, records: pa.Table
) -> None:
    facts = {"table_uri": "/data/tables/p/observations", "start": START, "end": END, "rows": 1234}
    with registry.run(stream) as run:
        first = run.dataset(records, "observations", delta_version=41, **facts)
        later = run.dataset(records, "observations", delta_version=42, context="held-out", **facts)
    inputs = {i.dataset.digest: i for i in stored(registry, run).inputs.dataset_inputs}
    assert set(inputs) == {first, later}
    assert len(inputs) == 2
    tags = {t.key: t.value for t in inputs[later].tags}
    assert tags["delta_version"] == "42"
    assert tags["start"] == "2026-01-01T00:00:00+00:00"
    assert tags["end"] == "2026-02-01T00:00:00+00:00"
    assert tags["rows"] == "1234"
    assert tags["mlflow.data.context"] == "held-out"
    dataset = inputs[later].dataset
    assert dataset.source_type == "delta_table"
    assert json.loads(dataset.source)["delta_table_version"] == 42
    assert json.loads(dataset.source)["path"] == "/data/tables/p/observations"
    assert json.loads(dataset.profile) == {"num_rows": 1234}
    assert "pressure" in dataset.schema


def test_the_same_dataset_has_the_same_digest(registry: Registry, stream: str, records: pa.Table) -> None:
    facts = {"table_uri": "/t", "delta_version": 1, "start": None, "end": END, "rows": 2}
    with registry.run(stream) as run:
        assert run.dataset(records, "o", **facts) == run.dataset(records.to_pandas(), "o", **facts)


def test_figures_config_and_tables_are_there(registry: Registry, stream: str) -> None:
    with registry.run(stream) as run:
        run.figure(figures.losses([1, 0.5], [1.1, 0.6]), "loss")
        run.text(YAML, "stream.yaml")
        run.table(pd.DataFrame({"channel": ["pressure"], "error": [0.1]}), "channels.json")
    assert artifact(registry, run, "figures/loss.png").read_bytes().startswith(b"\x89PNG")
    assert artifact(registry, run, "stream.yaml").read_text() == YAML
    assert json.loads(artifact(registry, run, "channels.json").read_text())["data"] == [["pressure", 0.1]]


def test_a_run_says_what_it_is_and_ends_finished(registry: Registry, stream: str) -> None:
    with registry.run(stream, kind="train", tags={"airflow.run": "manual"}) as run:
        run.tags({"champion": 3})
    found = stored(registry, run)
    assert found.info.status == "FINISHED"
    assert found.data.tags["offbeat.stream"] == stream
    assert found.data.tags["offbeat.kind"] == "train"
    assert found.data.tags["airflow.run"] == "manual"
    assert found.data.tags["champion"] == "3"


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("loss is NaN"), "FAILED"), (KeyboardInterrupt("stop"), "KILLED")]
)
def test_a_failed_block_ends_the_run_failed_with_the_reason(
    registry: Registry, stream: str, error: BaseException, status: str
) -> None:
    kept = SimpleNamespace()
    with pytest.raises(type(error)), registry.run(stream) as kept.run:
        raise error
    found = stored(registry, kept.run)
    assert found.info.status == status
    assert found.data.tags["offbeat.failure"] == f"{type(error).__name__}: {error}"


def test_a_failure_is_not_hidden_when_mlflow_is_gone_too(registry: Registry, stream: str) -> None:
    with pytest.raises(ValueError, match="the real reason"), registry.run(stream) as run:
        run.id = "0" * 32  # as if the run had been deleted meanwhile
        raise ValueError("the real reason")


def test_secrets_reach_no_part_of_mlflow(registry: Registry, stream: str, records: pa.Table) -> None:
    canary = "canary-7f3a9b2c"
    log.hide(canary)
    kept = SimpleNamespace()
    with pytest.raises(ValueError, match=canary), registry.run(stream, tags={"t": canary}) as kept.run:
        run = kept.run
        run.params({"url": f"https://user:{canary}@host/", "nested": {"p": canary}})
        run.tags({"tag": f"x {canary}"})
        run.text(f"url: {canary}", "stream.yaml")
        uri = f"s3://k:{canary}@bucket/t"
        run.dataset(records, "o", table_uri=uri, delta_version=1, start=None, end=None, rows=2)
        raise ValueError(f"cannot reach {canary}")
    home = registry.artifacts.parent
    found = [p for p in home.rglob("*") if p.is_file() and canary.encode() in p.read_bytes()]
    assert found == []
    assert stored(registry, kept.run).data.params["nested.p"] == log.REDACTED


def test_threads_share_a_registry(registry: Registry, stream: str) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with registry.run(f"{stream}-{number % 2}") as run:
                run.params({"number": number})
                run.epoch({"epoch": 1, "loss": number})
                assert stored(registry, run).data.params == {"number": str(number)}
        except BaseException as error:  # noqa: BLE001 - told to the test below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_deleted_experiment_comes_back(registry: Registry, stream: str) -> None:
    with registry.run(stream) as run:
        pass
    registry._client.delete_experiment(run.experiment)
    with registry.run(stream) as again:
        assert again.experiment == run.experiment


def test_links_lead_to_the_run_and_the_model(registry: Registry, stream: str) -> None:
    with registry.run(stream) as run:
        pass
    links = registry.links(run.id, "http://127.0.0.1:5000/")
    base = "http://127.0.0.1:5000/#"
    assert links["experiment"] == f"{base}/experiments/{run.experiment}"
    assert links["run"] == f"{base}/experiments/{run.experiment}/runs/{run.id}"
    assert links["model"] == f"{base}/models/offbeat.{stream}"


def test_importing_the_room_imports_neither_mlflow_nor_matplotlib() -> None:
    script = (
        "import sys; from pipeline.registry import Registry, figures; from pathlib import Path;"
        "Registry('sqlite:////nowhere/x.db', Path('/nowhere'));"
        "sys.exit(bool({'mlflow', 'matplotlib', 'tensorflow'} & set(sys.modules)))"
    )
    root = Path(log.__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", script], cwd=root, check=False).returncode == 0
