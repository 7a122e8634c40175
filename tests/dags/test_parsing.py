"""DAG files parse in under a second, and import nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.dags.conftest import DAGS, ROOT, Project, airflow_env, stream

HEAVY = ("tensorflow", "keras", "mlflow", "pandas", "onnxruntime", "matplotlib", "sklearn", "deltalake")
PARSE = """
import json, sys, time
import airflow.sdk
from airflow.dag_processing.dagbag import DagBag
before = set(sys.modules)
began = time.perf_counter()
bag = DagBag(sys.argv[1])
seconds = time.perf_counter() - began
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print("\\n" + json.dumps({"seconds": seconds, "new": sorted(new), "loaded": sorted(sys.modules),
                        "dags": sorted(bag.dags), "errors": bag.import_errors}))
"""


def parse(project: Project, environment: dict[str, str]) -> dict[str, Any]:
    env = environment | airflow_env(project.root / "airflow") | project.env
    env["PYTHONPATH"] = f"{DAGS}:{ROOT}"
    command = [sys.executable, "-c", PARSE, str(DAGS)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_the_dag_folder_parses_in_under_a_second_and_imports_nothing_heavy(
    project: Project, clean_environment: dict[str, str]
) -> None:
    for number in range(10):
        project.add(f"pumps_{number}", stream(project.root))
    found = parse(project, clean_environment)
    assert found["errors"] == {}
    assert len(found["dags"]) == 42
    assert not set(HEAVY) & set(found["loaded"])
    assert (
        found["seconds"] < 1 or parse(project, clean_environment)["seconds"] < 1
    )  # one busy moment is forgiven


def test_a_fresh_install_without_streams_parses(project: Project, clean_environment: dict[str, str]) -> None:
    found = parse(project, clean_environment)
    assert found["errors"] == {}
    assert found["dags"] == ["deliver_alerts", "maintain_store"]


class Shipped(Project):
    @property
    def env(self) -> dict[str, str]:
        return super().env | {"OFFBEAT_CONFIGS": str(ROOT / "configs")}


def test_the_shipped_streams_parse(tmp_path: Path, clean_environment: dict[str, str]) -> None:
    found = parse(Shipped(tmp_path), clean_environment)
    assert found["errors"] == {}
    assert {"ingest__pump_station", "train__card_payments", "score__server_fleet"} <= set(found["dags"])
    assert not [dag for dag in found["dags"] if dag.startswith("broken__")]
