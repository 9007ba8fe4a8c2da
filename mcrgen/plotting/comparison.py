"""The figure of ``mcrgen compare``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from mcrgen.plotting.curves import COLOURS, Line, plot_curve
from mcrgen.plotting.slices import common_window, show_image

REFERENCE_COLOUR = "black"

_MOST_IMAGES = 6
_COLUMNS = 4


def plot_comparison(
    path: Path,
    reference: Mapping[str, NDArray[Any]],
    candidates: Mapping[str, Mapping[str, NDArray[Any]]],
    metrics: Mapping[str, Any],
    *,
    errors: Mapping[str, Mapping[str, float]],
    voxel_size_um: float | None,
) -> None:
    """Write sections of all media, their curves over the reference's 95 % band, and the relative errors.

    Args:
        path: PNG to write.
        reference: section normal -> ``(N, H, W)`` labels of sections of the reference.
        candidates: name -> the same of each candidate.
        metrics: the content of ``metrics.json``.
        errors: candidate -> descriptor -> relative error.
        voxel_size_um: edge length of a voxel for the axis of lags, or None for voxels.
    """
    names = list(metrics["reference"]["curves"])
    rows = -(-len(names) // _COLUMNS)
    figure = Figure(figsize=(15.0, 3.3 + 2.7 * rows), layout="constrained")
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=(3.3, 2.7 * rows))[:, 0]
    _show_sections(top, reference, candidates)
    left, right = bottom.subfigures(1, 2, squeeze=False, width_ratios=(_COLUMNS, 1.5))[0]
    grid = left.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for axes, name in zip(grid, names, strict=False):
        _plot_curves(axes, name, metrics, voxel_size_um)
    for axes in grid[len(names) :]:
        axes.set_axis_off()
    handles, labels = grid[0].get_legend_handles_labels()
    if len(names) < len(grid):
        grid[-1].legend(handles, labels, loc="center", frameon=False)
    else:
        grid[0].legend(frameon=False, fontsize=7)
    _plot_errors(right.subplots(), errors)
    figure.savefig(path, dpi=130)


def _show_sections(
    figure: SubFigure, reference: Mapping[str, NDArray[Any]], candidates: Mapping[str, Mapping[str, NDArray[Any]]]
) -> None:
    """The reference, and of one candidate a section in each normal, of several one each."""
    several = len(candidates) > 1
    images = {"reference": _middle(next(iter(reference.values())))}
    for name, sections in list(candidates.items())[: _MOST_IMAGES - 1]:
        for normal, stack in list(sections.items())[: 1 if several else 3]:
            images[name if several or len(sections) == 1 else f"{name}, normal to {normal}"] = _middle(stack)
    top_label = max(int(image.max()) for image in images.values())
    window = common_window(images.values())
    for axes, (title, image) in zip(figure.subplots(1, len(images), squeeze=False)[0], images.items(), strict=True):
        show_image(axes, image / top_label, title, window)


def _middle(sections: NDArray[Any]) -> NDArray[Any]:
    middle: NDArray[Any] = sections[len(sections) // 2]
    return middle


def _plot_curves(axes: Axes, name: str, metrics: Mapping[str, Any], voxel_size_um: float | None) -> None:
    curve = metrics["reference"]["curves"][name]
    lines = [Line(curve["mean"], "reference", REFERENCE_COLOUR)]
    for i, (candidate, result) in enumerate(metrics["candidates"].items()):
        found = result["curves"][name]
        lines.append(Line(found["candidate"], candidate, COLOURS[i % len(COLOURS)], [*found["candidate_per_part"].values()]))
    plot_curve(axes, name, lines, band=curve["band"], window=metrics["window"]["edge"], voxel_size_um=voxel_size_um)


def _plot_errors(axes: Axes, errors: Mapping[str, Mapping[str, float]]) -> None:
    """Relative errors as points on a logarithmic axis."""
    labels = list(next(iter(errors.values())))
    places = np.arange(len(labels))
    shown = {name: 100.0 * np.maximum([values[label] for label in labels], 1e-6) for name, values in errors.items()}
    for i, (name, values) in enumerate(shown.items()):
        axes.plot(values, places, "o", ms=5, color=COLOURS[i % len(COLOURS)], label=name)
    every = np.concatenate(list(shown.values()))
    axes.set_xscale("log")
    axes.set_xlim(10 ** np.floor(np.log10(every.min())), 10 ** np.ceil(np.log10(every.max()) + 1e-9))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(places, labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("relative error (%)")
    axes.set_title("errors against the reference", fontsize=10)
    axes.grid(axis="x", lw=0.5, color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
