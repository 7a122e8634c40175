"""A detector as an MLflow model: `mlflow models serve` and `mlflow.pyfunc.load_model` run this file.

In: a frame of raw records, under the columns' final names. Out: one row per scored step with entity,
time, id, score (1 = threshold), raw, flag and contributions, all of it JSON. An entry point like cli.py;
MLflow runs it as a script, next to the package's own code, stored with the model.
"""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
from mlflow.models import set_model  # noqa: TID253
from mlflow.pyfunc.model import PythonModel  # noqa: TID253 - only MLflow runs this file

from pipeline import schemas
from pipeline.errors import DataError

if TYPE_CHECKING:
    from pipeline.models.bundle import Bundle

COLUMNS = ["entity", "time", "id", "score", "raw", "flag", "contributions"]


class Detector(PythonModel):
    """Scores raw records with the bundle that it was logged with."""

    bundle: Bundle

    def load_context(self, context: Any) -> None:
        """Load the bundle; its digest, channels and shape are verified.

        Raises:
            BundleError: the bundle is damaged or hostile.
        """
        from pipeline.models.bundle import Bundle

        self.bundle = Bundle.load(Path(context.artifacts["bundle"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """Score records: entity, time and channels, or id, entity, time, amount and categories.

        Args:
            context: MLflow's; the bundle is loaded already.
            model_input: Records under their final names. `time` is ISO 8601 text, or aware datetimes;
                without an offset it is UTC. Include the records before the first one that matters, as many
                as the window is long: a score needs that context.
            params: Unused.

        Raises:
            DataError: a column is missing, or a value cannot be read as what it should be.
        """
        from pipeline.scoring import score_table

        return answer(score_table(self.bundle, records(model_input, schemas.records(self.bundle.stream))))


def records(frame: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    """Return a frame of records as Arrow, in `schema`; columns that it does not name are left out.

    Raises:
        DataError: names the column that is missing or cannot be read.
    """
    if missing := [name for name in schema.names if name not in frame.columns]:
        raise DataError(f"missing columns: {', '.join(missing)}; expected {', '.join(schema.names)}")
    return pa.table([_column(frame[f.name], f) for f in schema], schema=schema)


def _column(values: pd.Series[Any], field: pa.Field) -> pa.Array:
    try:
        column = pa.Array.from_pandas(_typed(values, field.type), type=field.type)
    except (ValueError, TypeError, OverflowError, pa.ArrowInvalid) as error:
        raise DataError(f"column {field.name}: expected {_expected(field.type)}: {error}") from error
    if column.null_count and not field.nullable:
        raise DataError(f"column {field.name}: {column.null_count} values are missing")
    return column


def _typed(values: pd.Series[Any], kind: pa.DataType) -> Any:
    if pa.types.is_timestamp(kind):
        return _times(values)
    if pa.types.is_floating(kind):
        return pd.to_numeric(values).astype("float64")
    return values.astype(object).where(values.notna(), None).map(str, na_action="ignore")


def _times(values: pd.Series[Any]) -> Any:
    if pd.api.types.is_numeric_dtype(values) and len(values):
        raise TypeError("got numbers")
    return pd.to_datetime(values, utc=True, format="ISO8601").dt.as_unit("us")


def _expected(kind: pa.DataType) -> str:
    if pa.types.is_timestamp(kind):
        return "ISO 8601 times, such as 2026-01-31T12:00:00Z"
    return "numbers" if pa.types.is_floating(kind) else "text"


def answer(scores: pa.Table) -> pd.DataFrame:
    """Return scores (`schemas.SCORES`) as a frame that JSON can hold: ISO times, None for NaN."""
    rows = scores.select(COLUMNS).to_pylist()
    return pd.DataFrame([_json(row) for row in rows], columns=COLUMNS, dtype=object)


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _json(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_json(v) for v in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value


set_model(Detector())
