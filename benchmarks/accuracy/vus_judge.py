"""Runs in TSB-AD's own environment, never in ours: reads names of `.npz` files, answers VUS-PR line by line.

In: on standard input, paths of files with `score`, `label` and `first`. Out: on standard output, one JSON
number for each. The call is the benchmark's own (TSB-AD 1.5); the window is the first channel's period.
"""

import json
import sys

import numpy as np
from TSB_AD.evaluation.basic_metrics import generate_curve  # type: ignore[import-not-found]
from TSB_AD.utils.slidingWindows import find_length_rank  # type: ignore[import-not-found]


def main() -> None:
    """Answer until standard input ends."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # whatever the evaluator prints is no answer
    for line in sys.stdin:
        with np.load(line.strip(), allow_pickle=False) as asked:
            window = find_length_rank(asked["first"].reshape(-1, 1), rank=1)
            found = generate_curve(asked["label"], asked["score"], window, "opt", 250)[-1]
        answers.write(json.dumps(float(found)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
