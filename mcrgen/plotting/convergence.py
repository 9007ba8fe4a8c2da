"""How an optimisation went: errors over steps, and the medium on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from numpy.typing import NDArray

from mcrgen.plotting.names import CURVE_NAMES, SECTION_NAMES
from mcrgen.plotting.slices import show_image

_COLUMNS = 4
_NAMES = CURVE_NAMES | {name: text.removesuffix(", sections") for name, text in SECTION_NAMES.items()}


def plot_convergence(
    path: Path, steps: Sequence[int], terms: Mapping[str, Sequence[float]], pictures: Mapping[str, NDArray[Any]], *, title: str
) -> None:
    """Write errors on a logarithmic scale, and pictures beside them.

    Args:
        path: PNG to write.
        steps: number of each step.
        terms: name -> value at each step.
        pictures: title -> ``(H, W)`` in [0, 1].
        title: title of the figure.
    """
    rows = max(1, -(-len(pictures) // _COLUMNS))
    figure = Figure(figsize=(5.0 + 2.2 * _COLUMNS, max(3.6, 2.5 * rows)), layout="constrained")
    figure.suptitle(title, fontsize=10)
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(5.0, 2.2 * _COLUMNS))[0]
    axes = left.subplots()
    for name, values in terms.items():
        axes.plot(steps[-len(values) :], values, label=_NAMES.get(name, name.replace("_", " ")), lw=2.0 if name == "loss" else 1.0)
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("squared error (1: no structure)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    grid = right.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for place, (name, picture) in zip(grid, pictures.items(), strict=False):
        show_image(place, picture, name)
    for place in grid[len(pictures) :]:
        place.set_axis_off()
    figure.savefig(path, dpi=120)
