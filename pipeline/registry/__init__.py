"""MLflow: runs, detector bundles as model versions, the champion alias and the gate before it.

In: what a training run learned, and the folder of a detector bundle. Out: model versions, and local
folders that scoring loads. The only room that imports mlflow; it does so on first use, not on import.
"""

from pipeline.registry.gate import Decision, GateInput, gate
from pipeline.registry.registry import Registry
from pipeline.registry.runs import Run
from pipeline.registry.versions import Version

__all__ = ["Decision", "GateInput", "Registry", "Run", "Version", "gate"]
