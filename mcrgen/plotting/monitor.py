"""The figures of a generator's descriptors while it learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

REFERENCE_COLOUR = "black"
BAND_COLOUR = "0.82"
SAMPLE_COLOUR = "tab:red"
LABELS = {
    "s2": ("two-point correlation", "lag", "$S_2(r)$"),
    "lineal_path": ("lineal path", "length", "$L(r)$"),
    "f2": ("pairs", "lag", "$F_2(r)$"),
    "f3h": ("triangles, horizontal", "edge", "$F_{3H}(r)$"),
    "f3v": ("triangles, vertical", "edge", "$F_{3V}(r)$"),
    "f4": ("squares", "edge", "$F_4(r)$"),
    "f6": ("hexagons", "edge", "$F_6(r)$"),
}
"""Descriptor -> title, what r is, symbol."""

_MOST_LINES = 12

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """One descriptor of samples and reference over lags 0, 1, 2, ... voxels.

    Attributes:
        reference: ``(lags,)``.
        low: ``(lags,)`` lower edge of the reference's band.
        high: ``(lags,)`` upper edge.
        mean: ``(lags,)`` of all samples together.
        samples: ``(samples, lags)``.
    """

    reference: Floats
    low: Floats
    high: Floats
    mean: Floats
    samples: Floats


def plot_curves(path: Path, panels: Mapping[str, Panel], *, title: str) -> None:
    """Write one panel per descriptor, the samples over the reference and its band.

    Args:
        path: PNG to write.
        panels: name of the descriptor, see :data:`LABELS` -> its curves; at most seven.
        title: title of the figure.
    """
    figure = Figure(figsize=(12.0, 5.6))
    figure.suptitle(title, fontsize=11)
    *cells, last = figure.subplots(2, 4).ravel()
    for axes, (name, panel) in zip(cells, panels.items(), strict=False):
        _draw(axes, name, panel)
    last.axis("off")
    last.legend(*cells[0].get_legend_handles_labels(), loc="center left", frameon=False, fontsize=9, borderaxespad=0)
    # fixed margins: a constrained layout takes longer than the drawing itself
    figure.subplots_adjust(left=0.055, right=0.99, top=0.87, bottom=0.095, wspace=0.32, hspace=0.5)
    figure.savefig(path, dpi=110)


def _draw(axes: Axes, name: str, panel: Panel) -> None:
    lags = np.arange(len(panel.reference))
    axes.fill_between(lags, panel.low, panel.high, color=BAND_COLOUR, lw=0, label="exemplar's windows (95 %)")
    shown = panel.samples[:_MOST_LINES]
    name_of_lines = "each sample" if len(shown) == len(panel.samples) else f"{len(shown)} of the samples"
    for i, sample in enumerate(shown):
        axes.plot(lags, sample, color=SAMPLE_COLOUR, lw=0.7, alpha=0.5, label=None if i else name_of_lines)
    axes.plot(lags, panel.mean, color=SAMPLE_COLOUR, lw=1.8, label=f"mean of {len(panel.samples)} samples")
    axes.plot(lags, panel.reference, color=REFERENCE_COLOUR, lw=1.4, ls="--", label="exemplar")
    _label(axes, name, lags)


def _label(axes: Axes, name: str, lags: NDArray[np.int64]) -> None:
    title, kind, symbol = LABELS[name]
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(f"{kind} r (voxels)", labelpad=2)
    axes.set_ylabel(symbol, labelpad=2)
    axes.set_xlim(0, max(1, lags[-1]))
    axes.tick_params(labelsize=8)


def plot_collapse(path: Path, windows: Floats, sections: Floats, *, title: str) -> None:
    """Write the S2 of sections of all samples over the S2 of the reference's windows.

    Args:
        path: PNG to write.
        windows: ``(windows, lags)``.
        sections: ``(sections, lags)``.
        title: title of the figure.
    """
    figure = Figure(figsize=(6.0, 4.2), layout="constrained")
    axes = figure.subplots()
    lags = np.arange(windows.shape[1])
    for curves, colour, what in ((windows, "0.6", "windows of the exemplar"), (sections, SAMPLE_COLOUR, "sections of samples")):
        lines = axes.plot(lags, curves.T, color=colour, lw=0.8, alpha=0.7)
        lines[0].set_label(f"{len(curves)} {what}")
    axes.legend(frameon=False)
    _label(axes, "s2", lags)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=110)
