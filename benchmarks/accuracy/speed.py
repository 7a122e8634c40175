"""Speed: 25,000 rows of 40 channels, fitted and scored by `offbeat detect` in a process of its own.

Wall seconds from starting Python to the scores on disk, with all cores, beside peers that run the same way
in the same minute: PCA over windows, a dense autoencoder of scikit-learn's, and a bare Keras LSTM
autoencoder of our usual size (64-16-64), ten epochs over 5,000 windows, no checks, no calibration, no ONNX.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.accuracy.work import LIMITS, OURS, Arrays, Done, Job, Line, Settings, Target, Verdict

NAME, TITLE, READS, ALONE = "speed", "Speed, 25,000 rows of 40 channels", (), True
ROWS, CHANNELS = 25_000, 40
SECONDS, RATIO = "seconds", "times the bare Keras autoencoder"
KERAS = "bare Keras LSTM autoencoder"
PEERS = {"PCA over windows": "pca", "scikit-learn dense autoencoder": "dense", KERAS: "keras"}
PRESETS = {f"{OURS}, default": "default", f"{OURS}, fast": "fast"}
TARGETS = (
    Target(SECONDS, 60, 60, f"{OURS}, default", "lower"),
    Target(SECONDS, 15, 15, f"{OURS}, fast", "lower"),
)


def jobs(data: Path) -> list[Job]:
    """Return peers and presets, one after the other on a machine that does nothing else."""
    return [Job(NAME, "synthetic", method) for method in (*PEERS, *PRESETS)]


def run(job: Job, settings: Settings) -> Arrays:
    """Time one process.

    Raises:
        RuntimeError: it failed; says what it said last.
    """
    settings.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.work) as made:
        folder = Path(made)
        synthetic(ROWS, CHANNELS, settings.seed).to_parquet(folder / "in.parquet", index=False)
        command = _command(job.method, folder, settings.seed)
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, env=_all_cores(), check=False)
        seconds = time.perf_counter() - began
        if done.returncode:
            raise RuntimeError(f"{job.method}: exit {done.returncode}: {done.stderr[-2000:]}")
        rows = len(pd.read_parquet(folder / "out.parquet"))
    if rows != ROWS:
        raise RuntimeError(f"{job.method}: {rows} rows came back of {ROWS}")
    return {"wall": np.array(seconds)}


def judge(data: Path, done: Done) -> Verdict:
    """Compare wall seconds."""
    found = {job.method: float(arrays["wall"]) for job, arrays in done.items()}
    lines = []
    for method, seconds in found.items():
        figures = {SECONDS: seconds}
        if KERAS in found:
            figures[RATIO] = seconds / found[KERAS]
        lines.append(Line(method, "ours" if method in PRESETS else "baseline", figures))
    return Verdict(lines)


def synthetic(rows: int, channels: int, seed: int) -> pd.DataFrame:
    """Return a plant of a few shared rhythms, with noise and two faults, a minute a row."""
    rng, t = np.random.default_rng(seed), np.arange(rows)
    periods = rng.uniform(20, 2000, 6)
    rhythm = np.sin(2 * np.pi * t[:, None] / periods + rng.uniform(0, 6, 6))
    values = rhythm @ rng.normal(size=(6, channels)) + 0.2 * rng.normal(size=(rows, channels))
    values[int(rows * 0.8) : int(rows * 0.8) + 50, :5] += 6
    values[int(rows * 0.9) :, 7] += 2
    frame = pd.DataFrame(values, columns=[f"c{i:02d}" for i in range(channels)])
    return frame.assign(time=pd.date_range("2024-01-01", periods=rows, freq="min"))


def _command(method: str, folder: Path, seed: int) -> list[str]:
    files = [str(folder / "in.parquet"), str(folder / "out.parquet")]
    if method in PEERS:
        return [sys.executable, "-m", "benchmarks.accuracy.peers", PEERS[method], *files]
    offbeat = [sys.executable, "-m", "pipeline.cli", "detect", files[0], "--time", "time", "--out", files[1]]
    return [*offbeat, "--preset", PRESETS[method], "--seed", str(seed)]


def _all_cores() -> dict[str, str]:
    """Return the environment without the limits that workers have."""
    return {k: v for k, v in os.environ.items() if k not in LIMITS}
