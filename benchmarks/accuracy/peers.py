"""What `speed` is measured beside: `python -m benchmarks.accuracy.peers pca|dense|keras IN OUT`.

In: a Parquet file with `time` and channels. Out: one squared error a row, in a Parquet file.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

LENGTH, WINDOWS, EPOCHS, BATCH = 32, 5_000, 10, 128
UNITS, LATENT, STRIDE = 64, 16, 4
Floats = NDArray[np.float32]


def pca(values: Floats) -> Floats:
    """Reconstruct eight rows at a time from their main directions."""
    from pipeline.detect.baselines import PcaReconstruction

    wide = values.astype(np.float64)
    error = PcaReconstruction().fit([wide]).errors(wide).mean(axis=1)
    filled: Floats = np.nan_to_num(error).astype(np.float32)
    return filled


def dense(values: Floats) -> Floats:
    """Reconstruct eight rows at a time by a dense network of scikit-learn's (64-16-64)."""
    from sklearn.neural_network import MLPRegressor

    flat = _windows(values, 8).reshape(len(values) - 7, -1)
    net = MLPRegressor(
        hidden_layer_sizes=(64, 16, 64),
        batch_size=BATCH,
        max_iter=EPOCHS,
        early_stopping=True,
        random_state=7,
    )
    error = np.square(net.fit(flat, flat).predict(flat) - flat).mean(axis=1)
    return np.concatenate([np.zeros(7), error]).astype(np.float32)


def keras(values: Floats) -> Floats:
    """Reconstruct windows of 32 rows by an LSTM autoencoder, and nothing more."""
    import keras as k

    channels = values.shape[1]
    net = k.Sequential(
        [
            k.layers.Input((LENGTH, channels)),
            k.layers.LSTM(UNITS),
            k.layers.Dense(LATENT),
            k.layers.RepeatVector(LENGTH),
            k.layers.LSTM(UNITS, return_sequences=True),
            k.layers.Dense(channels),
        ]
    )
    net.compile(k.optimizers.Adam(2e-3), "mse")
    every = _windows(values, LENGTH)
    learned = every[np.linspace(0, len(every) - 1, WINDOWS).astype(int)]
    net.fit(learned, learned, batch_size=BATCH, epochs=EPOCHS, verbose=0)
    judged = np.ascontiguousarray(every[STRIDE - 1 :: STRIDE])
    error = np.square(net.predict(judged, batch_size=512, verbose=0) - judged)[:, -STRIDE:].mean(axis=2)
    out = np.zeros(len(values), np.float32)
    out[LENGTH - 1 : LENGTH - 1 + error.size] = error.ravel()
    return out


def _windows(values: Floats, length: int) -> Floats:
    return np.ascontiguousarray(sliding_window_view(values, length, axis=0).transpose(0, 2, 1))


def main() -> None:
    """Run one peer."""
    name, source, target = sys.argv[1:]
    values = pd.read_parquet(source).drop(columns="time").to_numpy(np.float32)
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    score = {"pca": pca, "dense": dense, "keras": keras}[name](values)
    pd.DataFrame({"score": score}).to_parquet(target, index=False)


if __name__ == "__main__":
    main()
