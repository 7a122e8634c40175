"""VUS-PR by TSB-AD's own evaluator, which lives in an environment of its own and is asked over a pipe.

In: scores, labels and the first channel of a series. Out: one number. `tsb_env.sh` makes the environment;
`vus_judge.py` runs in it. What was judged once is kept under the digest of what was judged.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.work import Settings

JUDGE = Path(__file__).parent / "vus_judge.py"


def vus_pr(
    settings: Settings, score: NDArray[np.float64], label: NDArray[np.int8], first: NDArray[np.float64]
) -> float:
    """Return VUS-PR of one series (Paparrizos et al., VLDB 2022; Liu and Paparrizos, NeurIPS 2024).

    Args:
        settings: where the judge's interpreter is, and where to keep what it says.
        score: finite, any scale [T].
        label: 1 for anomalous rows [T].
        first: the first channel, from which the evaluator takes the series' period [T].

    Raises:
        RuntimeError: the evaluator died; says what it said.
    """
    scaled = unit_scaled(score)
    parts = (scaled, np.ascontiguousarray(label, np.int64), np.ascontiguousarray(first, np.float64))
    name = hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()[:32]
    kept = settings.work / "vus" / f"{name}.json"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        asked = kept.with_suffix(f".{os.getpid()}.npz")
        np.savez(asked, score=parts[0], label=parts[1], first=parts[2])
        found = _ask(settings.tsb_python, asked)
        asked.unlink()
        partial = kept.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps(found))
        partial.replace(kept)
    return float(json.loads(kept.read_text()))


def unit_scaled(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale scores to 0-1 in double precision; all zero where they do not differ.

    VUS-PR depends on the order of scores alone. Where scores so far apart are scaled that neighbours would
    become equal, their ranks are scaled instead: the same order, kept.
    """
    low, high = float(score.min()), float(score.max())
    if not high > low:
        return np.zeros(len(score))
    scaled = (score - low) / (high - low)
    distinct, rank = np.unique(score, return_inverse=True)
    if len(np.unique(scaled)) < len(distinct):
        return rank.astype(np.float64) / (len(distinct) - 1)
    return np.ascontiguousarray(scaled, np.float64)


@cache
def _judge(python: Path) -> subprocess.Popen[str]:
    """Start the evaluator once in a worker; it ends when the worker's end of the pipe does."""
    if not python.is_file():
        raise RuntimeError(f"{python} is missing: make it by benchmarks/accuracy/tsb_env.sh")
    return subprocess.Popen(
        [str(python), str(JUDGE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_plain()
    )


def _ask(python: Path, asked: Path) -> float:
    judge = _judge(python)
    assert judge.stdin is not None and judge.stdout is not None
    judge.stdin.write(f"{asked}\n")
    judge.stdin.flush()
    answer = judge.stdout.readline()
    if not answer:
        raise RuntimeError(f"TSB-AD's evaluator ended with {judge.wait()} on {asked.name}")
    return float(json.loads(answer))


def _plain() -> dict[str, str]:
    """Return an environment without this one's Python paths, one thread each."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return {**kept, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
