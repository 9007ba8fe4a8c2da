"""The losses of two networks that train against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure


def plot_losses(path: Path, steps: Sequence[int], losses: Mapping[str, Sequence[float]], *, title: str) -> None:
    """Write one panel for each loss over the steps.

    Args:
        path: PNG to write.
        steps: at which they were taken.
        losses: what it is -> one value for each step.
        title: title of the figure.
    """
    figure = Figure(figsize=(5.0 * len(losses), 3.6), layout="constrained")
    figure.suptitle(title, fontsize=11)
    for axes, (name, values) in zip(figure.subplots(1, len(losses), squeeze=False)[0], losses.items(), strict=True):
        axes.plot(steps, values, color="0.75", lw=0.8)
        axes.plot(steps, _smooth(values), color="tab:red", lw=1.4)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("step")
        axes.axhline(0.0, color="0.5", lw=0.6, zorder=0)
    figure.savefig(path, dpi=110)


def _smooth(values: Sequence[float]) -> list[float]:
    """Mean over a neighbourhood of a fiftieth of the course."""
    half = max(1, len(values) // 100)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = [(max(0, i - half), min(len(values), i + half + 1)) for i in range(len(values))]
    return [float(sums[stop] - sums[start]) / (stop - start) for start, stop in ends]
