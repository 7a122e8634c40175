"""One MLflow run of one stream: what is being learned, as it is learned.

In: parameters, epochs, data, figures, files and the finished bundle. Out: an MLflow run, and a model
version. Every text goes through `log.redact` before it leaves the process.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline import clock, log
from pipeline.registry import bundles, versions
from pipeline.registry.tracking import translated

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.models import Model

_BAD_KEY = re.compile(r"[^\w.:/ -]")
_BATCH = 100  # params in one call, MLflow's limit
_KEY, _PARAM, _TAG = 250, 6000, 5000  # characters, MLflow's limits


def clean(value: object, limit: int = _TAG) -> str:
    """Return a value as text with secrets blanked, at most `limit` characters long."""
    text = log.redact("" if value is None else str(value))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def clean_key(key: str) -> str:
    """Return a name that MLflow takes for a parameter, a metric or a tag."""
    return _BAD_KEY.sub("_", key)[:_KEY]


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested values under dotted names: `{"model": {"units": (64,)}}` is `model.units`."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


class Run:
    """A running MLflow run. Made by `Registry.run`; every method may raise `Unavailable`.

    Args:
        client: MLflow's client.
        stream: Name of the stream.
        experiment: Id of its experiment.
        run_id: Id of the run, `id` afterwards.
    """

    def __init__(self, client: MlflowClient, stream: str, experiment: str, run_id: str) -> None:
        self.id, self.stream, self.experiment = run_id, stream, experiment
        self._client = client
        self._params: dict[str, str] = {}

    def params(self, values: Mapping[str, Any]) -> None:
        """Log parameters; nested mappings are flattened, long values cut."""
        from mlflow.entities import Param

        found = {clean_key(k): clean(v, _PARAM) for k, v in flatten(values)}
        self._params |= found
        rest = iter([Param(k, v) for k, v in found.items()])
        with translated("log parameters"):
            while batch := list(islice(rest, _BATCH)):
                self._client.log_batch(self.id, params=batch)

    def metrics(self, values: Mapping[str, float | None], step: int = 0) -> None:
        """Log numbers at a step; None is left out."""
        from mlflow.entities import Metric

        at = int(clock.now().timestamp() * 1000)
        known = [Metric(clean_key(k), float(v), at, step) for k, v in values.items() if v is not None]
        with translated("log metrics"):
            self._client.log_batch(self.id, metrics=known)

    def epoch(self, record: Mapping[str, float]) -> None:
        """Log one epoch: `epoch` is the step, the rest (loss, val_loss, learning_rate) its metrics."""
        self.metrics({k: v for k, v in record.items() if k != "epoch"}, step=int(record["epoch"]))

    def tags(self, values: Mapping[str, Any]) -> None:
        """Set tags on the run."""
        from mlflow.entities import RunTag

        with translated("set tags"):
            self._client.log_batch(self.id, tags=[RunTag(clean_key(k), clean(v)) for k, v in values.items()])

    def dataset(
        self,
        sample: pa.Table | pd.DataFrame,
        name: str,
        *,
        table_uri: str,
        delta_version: int,
        start: datetime | None,
        end: datetime | None,
        rows: int,
        context: str = "train",
    ) -> str:
        """Log a Delta table at one version and time range as an input of the run; return its digest.

        Args:
            sample: Some of its rows, for the columns' types and the digest.
            name: Such as `observations`.
            table_uri: Folder or URL of the table.
            delta_version: Version of it that was read.
            start: First time read, aware; None: from the beginning.
            end: Time before which was read, aware; None: to the end.
            rows: How many rows were read.
            context: What they were used for: `train`, `held-out`.
        """
        from mlflow.data import pandas_dataset
        from mlflow.data.delta_dataset_source import DeltaDatasetSource
        from mlflow.entities import Dataset, DatasetInput, InputTag

        frame = sample.to_pandas() if isinstance(sample, pa.Table) else sample
        facts = {"delta_version": delta_version, "start": start, "end": end, "rows": rows}
        source = DeltaDatasetSource(path=clean(table_uri), delta_table_version=delta_version)
        plain = pandas_dataset.from_pandas(frame, source=source, name=name)
        mark = hashlib.sha256(f"{plain.digest}|{table_uri}|{facts}".encode()).hexdigest()[:8]
        entity = Dataset(**{**plain.to_dict(), "digest": mark, "profile": f'{{"num_rows": {rows}}}'})
        tags = {"mlflow.data.context": context} | {k: clean(_time(v)) for k, v in facts.items()}
        given = DatasetInput(entity, [InputTag(k, v) for k, v in tags.items()])
        with translated("log the dataset"):
            self._client.log_inputs(self.id, [given])
        return mark

    def figure(self, figure: Figure, name: str) -> None:
        """Log a matplotlib figure as `figures/<name>.png`."""
        with translated("log a figure"):
            self._client.log_figure(self.id, figure, f"figures/{name}.png")

    def text(self, text: str, file: str) -> None:
        """Log a text file, such as the stream's YAML."""
        with translated(f"log {file}"):
            self._client.log_text(self.id, log.redact(text), file)

    def table(self, rows: pa.Table | pd.DataFrame, file: str) -> None:
        """Log a small table as JSON that MLflow's page shows as a table; `file` ends in `.json`."""
        frame = rows.to_pandas() if isinstance(rows, pa.Table) else rows
        with translated(f"log {file}"):
            self._client.log_table(self.id, frame, file)

    def bundle(
        self,
        folder: Path,
        records: pa.Schema,
        *,
        example: pa.Table | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> int:
        """Log a detector bundle as one model version of `offbeat.<stream>`; return its number.

        1. the bundle's digest is taken; 2. its files are stored; 3. the version is made, with the
        digest on it, in one call. A crash before 3 leaves no version, so a version is always whole.

        Args:
            folder: What `models.Bundle.write` wrote.
            records: Schema of what it scores: `schemas.records(stream)`.
            example: Some such records, kept as the model's input example; at most 128.
            tags: For the version: schema, Delta version, window, budget.

        Raises:
            BundleError: the folder is not a bundle.
        """
        mark = bundles.digest(folder)
        marks = {clean_key(k): clean(v) for k, v in (tags or {}).items()} | {versions.DIGEST: mark}
        with tempfile.TemporaryDirectory() as work:
            with translated("log the bundle"):
                model = self._logged(marks)
            out = Path(work) / "model"
            bundles.save(self._described(model), folder, records, example, out)
            with translated("log the bundle"):
                self._client.log_model_artifacts(model.model_id, str(out))
                return self._register(model, marks)

    def _logged(self, tags: Mapping[str, str]) -> LoggedModel:
        return self._client.create_logged_model(
            self.experiment, "detector", self.id, dict(tags), self._params, model_type="detector"
        )

    def _described(self, model: LoggedModel) -> Model:
        from mlflow.models import Model

        known = model.model_id
        return Model(artifact_path=model.artifact_location, run_id=self.id, model_uuid=known, model_id=known)

    def _register(self, model: LoggedModel, tags: Mapping[str, str]) -> int:
        from mlflow.entities import LoggedModelOutput

        self._client.finalize_logged_model(model.model_id, "READY")
        self._client.log_outputs(self.id, [LoggedModelOutput(model.model_id, step=0)])
        name = versions.model_name(self.stream)
        made = self._client.create_model_version(
            name, model.artifact_location, self.id, dict(tags), model_id=model.model_id
        )
        return int(made.version)


def _time(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value
