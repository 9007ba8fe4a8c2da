"""An exemplar and volumes made after it in columns, their curves below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from mcrgen.plotting.comparison import REFERENCE_COLOUR
from mcrgen.plotting.curves import COLOURS, Line, plot_curve
from mcrgen.plotting.rendering import Scene, render
from mcrgen.plotting.slices import common_window
from mcrgen.plotting.view import phase_colours

_PIXELS = 1000
_CELL = 3.3
_CAPTIONS = 0.7
_DPI = 160
_FONT = 12


@dataclass(frozen=True)
class Column:
    """One medium.

    Attributes:
        title: what it is; the key of its curves.
        sections: caption -> ``(H, W)`` labels, one below the other.
        scene: a rendering below the sections; None for none.
    """

    title: str
    sections: Mapping[str, NDArray[np.uint8]]
    scene: Scene | None = None


@dataclass(frozen=True)
class Curves:
    """One descriptor of all media.

    Attributes:
        reference: of the exemplar, over lags 0, 1, 2, ... voxels.
        candidates: title -> the same of each volume.
        parts: title -> its curves along each axis, whose spread is shaded.
        band: ``low`` and ``high`` of the exemplar's windows; None for none.
        window: edge of those windows in voxels.
    """

    reference: Sequence[float]
    candidates: Mapping[str, Sequence[float]]
    parts: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)
    band: Mapping[str, Sequence[float]] | None = None
    window: int | None = None


def plot_side_by_side(
    path: Path,
    exemplar: Column,
    candidates: Sequence[Column],
    curves: Mapping[str, Curves],
    *,
    phases: Sequence[str],
    phase: int,
    voxel_size_um: float | None,
) -> None:
    """Write all sections at one scale, renderings below them, and below those a panel per descriptor.

    Args:
        path: PNG to write.
        exemplar: the first column; the legend stands below it.
        candidates: the other columns, each with the same number of sections and renderings.
        curves: descriptor -> curves.
        phases: names of the phases.
        phase: index of the phase of interest, which has the same colour in all figures.
        voxel_size_um: edge length of a voxel in micrometres, or None for voxels.
    """
    columns = [exemplar, *candidates]
    rows = max(len(c.sections) + (c.scene is not None) for c in columns)
    colours = phase_colours(len(phases), phase)
    heights = (rows * (_CELL + _CAPTIONS), 3.6)
    figure = Figure(figsize=(len(columns) * _CELL + 0.6, sum(heights)), layout=ConstrainedLayoutEngine(w_pad=0.08))
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
    _show_media(top, columns, rows, phases, colours)
    panels = bottom.subplots(1, len(curves), squeeze=False)[0]
    for axes, (name, found) in zip(panels, curves.items(), strict=True):
        _show_curves(axes, name, found, voxel_size_um)
    figure.savefig(path, dpi=_DPI)


def _show_media(figure: SubFigure, columns: Sequence[Column], rows: int, phases: Sequence[str], colours: Sequence[str]) -> None:
    grid = figure.subplots(rows, len(columns), squeeze=False)
    window = common_window(image for c in columns for image in c.sections.values())
    for cells, column, line_colour in zip(grid.T, columns, _line_colours(len(columns)), strict=True):
        for axes in cells:
            axes.set_axis_off()
        for axes, (caption, image) in zip(cells, column.sections.items(), strict=False):
            _show_section(axes, image[:window, :window], caption, colours, line_colour)
        if column.scene is not None:
            _show_rendering(cells[len(column.sections)], column.scene, colours)
        cells[0].set_title(column.title, fontsize=_FONT + 1, fontweight="bold", color=line_colour)
    if rows > len(columns[0].sections):
        _show_legend(grid[-1, 0], columns, phases, colours)


def _line_colours(count: int) -> list[str]:
    return [REFERENCE_COLOUR, *(COLOURS[i % len(COLOURS)] for i in range(count - 1))]


def _show_section(axes: Axes, image: NDArray[np.uint8], caption: str, colours: Sequence[str], line_colour: str) -> None:
    axes.imshow(image, cmap=ListedColormap(colours), vmin=-0.5, vmax=len(colours) - 0.5, interpolation="nearest")
    axes.set_axis_on()
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(color=line_colour, linewidth=2.0)
    axes.set_xlabel(f"{caption}, {image.shape[0]} × {image.shape[1]}", fontsize=_FONT - 1)


def _show_rendering(axes: Axes, scene: Scene, colours: Sequence[str]) -> None:
    picture, extent = render(scene, {}, colours, pixels=_PIXELS)
    axes.imshow(picture, extent=extent, interpolation="auto")
    axes.set_title(f"{' × '.join(map(str, scene.shape))} voxels", y=-0.06, fontsize=_FONT - 1)


def _show_legend(axes: Axes, columns: Sequence[Column], phases: Sequence[str], colours: Sequence[str]) -> None:
    handles: list[Any] = [Patch(fc=c, ec="0.4", lw=0.5, label=n) for c, n in zip(colours, phases, strict=True)]
    lines = zip(columns, _line_colours(len(columns)), strict=True)
    handles += [Line2D([], [], color=c, lw=2, label=column.title) for column, c in lines]
    axes.legend(handles=handles, loc="center left", frameon=False, fontsize=_FONT)


def _show_curves(axes: Axes, name: str, curves: Curves, voxel_size_um: float | None) -> None:
    lines = [Line(curves.reference, "exemplar", REFERENCE_COLOUR)]
    for (title, values), colour in zip(curves.candidates.items(), _line_colours(1 + len(curves.candidates))[1:], strict=True):
        lines.append(Line(values, title, colour, curves.parts.get(title, ())))
    plot_curve(axes, name, lines, band=curves.band, window=curves.window, voxel_size_um=voxel_size_um)
    axes.title.set_fontsize(_FONT + 1)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_fontsize(_FONT)
    axes.tick_params(labelsize=_FONT - 1)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=voxel_size_um is None))
    if curves.band is not None:
        axes.legend(handles=axes.collections[:1], frameon=False, fontsize=_FONT - 2)
