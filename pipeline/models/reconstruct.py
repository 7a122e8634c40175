"""Reconstruct windows with ONNX Runtime: no TensorFlow, a second to start, the same numbers always.

In: an ONNX graph, windows and masks. Out: the views the model takes of them: the reconstruction, and with
some architectures a prediction.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pipeline.errors import BundleError, DataError
from pipeline.models.windows import Batch, clean

Views = dict[str, NDArray[np.float32]]

VIEWS = (
    "reconstruction",
    "prediction",
    "linear_reconstruction",
    "linear_prediction",
)  # what a model may give, in the order it is given in
BATCH = 64  # the fastest size for these graphs on a CPU, within a tenth, and small in memory
_ORT_ERRORS = tuple(
    error
    for error in vars(onnxruntime.capi.onnxruntime_pybind11_state).values()
    if isinstance(error, type) and issubclass(error, Exception)
)


class Reconstructor:
    """A trained autoencoder, ready to score.

    Every run of the graph has the same batch size: short batches are filled up with zeros. The same window
    so gives the same numbers whatever it comes together with, which is what slice invariance rests on.

    Args:
        model: ONNX graph as bytes, or the path of its file.
        threads: CPU threads to use; all that the machine has when None.

    Raises:
        BundleError: If ONNX Runtime cannot load the graph, or the graph does not do what it says.

    Example:
        >>> reconstructor = Reconstructor(Path("model.onnx"))  # doctest: +SKIP
        >>> reconstructor(values, mask)["reconstruction"].shape == values.shape  # doctest: +SKIP
        True
    """

    def __init__(self, model: bytes | Path, threads: int | None = None) -> None:
        self._session = _session(model if isinstance(model, bytes) else Path(model).read_bytes(), threads)
        shape = {i.name: i.shape for i in self._session.get_inputs()}.get("values", [])
        if len(shape) != 3:
            raise BundleError("the ONNX graph has no input `values` [n, L, F]: train the stream again")
        self.length, self.features = int(shape[1]), int(shape[2])
        self.views = _views(self._session)
        self._try()

    def __call__(self, values: NDArray[np.float32], mask: NDArray[np.float32]) -> Views:
        """Reconstruct windows, and predict them where the model does that too.

        Args:
            values: [n, L, F] scaled features; what stands under mask 0, or is not finite, plays no part.
            mask: [n, L, F], 1 where observed.

        Returns:
            float32 [n, L, F] for each of `views`. "reconstruction": each row from the whole window.
            "prediction": each row from the rows before it in the window; the first from nothing.

        Raises:
            DataError: If the windows don't have the model's shape.
        """
        self._check(values, mask)
        out = {view: np.empty(values.shape, np.float32) for view in self.views}
        for start, batch in _batches(values, mask):
            for view, rows in self._run(*batch).items():
                out[view][start : start + BATCH] = rows[: len(values) - start]
        return out

    def _run(self, values: NDArray[np.float32], mask: NDArray[np.float32]) -> Views:
        made = self._session.run(self.views, {"values": values, "mask": mask})
        return dict(zip(self.views, made, strict=True))

    def _try(self) -> None:
        nothing = np.zeros((BATCH, self.length, self.features), np.float32)
        try:
            made = self._run(nothing, nothing)
        except _ORT_ERRORS as error:
            raise BundleError(f"ONNX Runtime cannot run the graph: {error}") from error
        for view, found in made.items():
            if found.shape != nothing.shape or not np.isfinite(found).all():
                raise BundleError(f"the graph gives no {view}: from nothing it made {found.shape}")

    def _check(self, values: NDArray[np.float32], mask: NDArray[np.float32]) -> None:
        if values.shape != mask.shape or values.shape[1:] != (self.length, self.features):
            raise DataError(
                f"windows {values.shape} with mask {mask.shape} do not fit a model of "
                f"[n, {self.length}, {self.features}]"
            )


def _views(session: onnxruntime.InferenceSession) -> tuple[str, ...]:
    found = {o.name for o in session.get_outputs()}
    if VIEWS[0] not in found or found - set(VIEWS):
        raise BundleError(f"the ONNX graph gives {sorted(found)}, known are {', '.join(VIEWS)}")
    return tuple(view for view in VIEWS if view in found)


def _batches(values: NDArray[np.float32], mask: NDArray[np.float32]) -> Iterator[tuple[int, Batch]]:
    for start in range(0, len(values), BATCH):
        part = slice(start, start + BATCH)
        seen = clean(np.asarray(values[part], np.float32), np.asarray(mask[part], np.float32))
        yield start, (_fill(seen[0]), _fill(seen[1]))


def _fill(part: NDArray[np.float32]) -> NDArray[np.float32]:
    missing = BATCH - len(part)
    return np.pad(part, ((0, missing), (0, 0), (0, 0))) if missing else part


def _session(graph: bytes, threads: int | None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    # Spinning threads take the cores that Airflow's other tasks on the machine need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except _ORT_ERRORS as error:
        raise BundleError(f"ONNX Runtime cannot load the graph: {error}") from error
