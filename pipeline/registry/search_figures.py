"""The figures of a search: how it went, and what mattered.

In: values of trials, shares of parameters. Out: matplotlib figures, as in `figures`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.registry.figures import BLUE, GREEN, INK, ORANGE, QUIET, drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def search(trials: Sequence[int], values: Sequence[float], fresh: Sequence[float]) -> Figure:
    """Draw each trial's value, the best so far, and the first trial's, which is the present configuration.

    Args:
        trials: Their numbers, rising.
        values: What was searched by [N].
        fresh: The same judged by what the search did not see [N].
    """
    from matplotlib.ticker import MaxNLocator

    with drawing(6.4, 3.4) as (figure, axes):
        axes.axhline(values[0], color=QUIET, ls=":", lw=1.2, label=f"present configuration {values[0]:.3f}")
        axes.plot(trials, fresh, "x", color=ORANGE, ms=5, label="on fresh faults")
        axes.plot(trials, values, "o", color=BLUE, ms=5, label="trial")
        axes.step(trials, np.maximum.accumulate(values), where="post", color=GREEN, label="best so far")
        axes.set(title="Search", xlabel="trial", ylabel="detection of injected faults")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside lower center", ncols=2)
    return figure


def importances(shares: Mapping[str, float]) -> Figure:
    """Draw each parameter's share in how trials differ, largest on top."""
    names = sorted(shares, key=lambda name: -shares[name])
    with drawing(6.4, 0.9 + 0.28 * len(names)) as (figure, axes):
        bars = axes.barh(names, [shares[name] for name in names], color=BLUE, height=0.7)
        axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8, color=INK)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.12)
        axes.set(title="What mattered", xlabel="share in how trials differ (fANOVA)")
    return figure
