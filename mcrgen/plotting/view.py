"""The figure of ``mcrgen view``: three sections and a rendering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from mcrgen.plotting.rendering import FRAME_COLOURS, RIGHT, UP, Scene, render

_PHASE_COLOUR = "#ead9b0"
_OTHER_COLOURS = ("#3d4a5c", "#8fa9bf", "#b5483a", "#6b8f71", "#c9a227", "#7d6b91", "#d8dee5", "#111111")
_PIXELS = 1600
_LEAST_SHARE = 0.8


@dataclass(frozen=True)
class Section:
    """A section of a volume.

    Attributes:
        image: ``(H, W)`` labels.
        place: its index along its normal.
    """

    image: NDArray[np.uint8]
    place: int


def plot_view(
    path: Path,
    sections: Mapping[str, Section],
    scene: Scene,
    *,
    title: str,
    fractions: Sequence[float],
    voxel_size_um: float | None,
) -> None:
    """Write the sections normal to z, y and x and the rendering, in which frames of their colours mark their planes.

    Args:
        path: PNG to write.
        sections: normal -> section.
        scene: what is rendered.
        title: title of the figure.
        fractions: phase fractions.
        voxel_size_um: edge length of a voxel in micrometres, or None for voxels.
    """
    depth, height, width = (max(edge / max(scene.shape), _LEAST_SHARE) for edge in scene.shape)
    figure = Figure(figsize=(0.8 + 4.6 * (width + height), 1.2 + 4.6 * (height + depth)), layout="constrained")
    figure.suptitle(f"{title}   {' × '.join(map(str, scene.shape))} voxels (z × y × x)", fontsize=11)
    grid = figure.subplots(2, 2, width_ratios=(width, height), height_ratios=(height, depth))  # one scale for all sections
    colours = phase_colours(len(scene.values), scene.phase)
    for axes, normal in ((grid[0, 0], "z"), (grid[1, 0], "y"), (grid[1, 1], "x")):
        _show_section(axes, normal, sections, colours, voxel_size_um)
    _show_rendering(grid[0, 1], scene, {n: s.place for n, s in sections.items()}, colours, voxel_size_um)
    names = [f"phase {value}, {fraction:.1%}" for value, fraction in zip(scene.values, fractions, strict=True)]
    patches = [Patch(facecolor=c, edgecolor="0.4", lw=0.5, label=n) for c, n in zip(colours, names, strict=True)]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(4, len(patches)), frameon=False, fontsize=10)
    figure.savefig(path, dpi=200)


def phase_colours(count: int, phase: int) -> list[str]:
    """One colour for the phase of interest wherever it is, others for the rest."""
    rest = [_OTHER_COLOURS[i % len(_OTHER_COLOURS)] for i in range(count - 1)]
    return [*rest[:phase], _PHASE_COLOUR, *rest[phase:]]


def _show_section(
    axes: Axes, normal: str, sections: Mapping[str, Section], colours: Sequence[str], voxel_size_um: float | None
) -> None:
    """One section in its frame, with arrow heads where the others cut it."""
    unit, step = ("voxels", 1.0) if voxel_size_um is None else ("µm", voxel_size_um)
    image, place = sections[normal].image, sections[normal].place
    down, right = (axis for axis in "zyx" if axis != normal)
    axes.imshow(
        image,
        cmap=ListedColormap(colours),
        vmin=-0.5,
        vmax=len(colours) - 0.5,
        interpolation="auto",  # a section of more voxels than pixels would alias
        interpolation_stage="rgba",
        extent=(0.0, image.shape[1] * step, image.shape[0] * step, 0.0),
    )
    for axis in (down, right):
        at = (sections[axis].place + 0.5) * step
        where, marker = ((1.0, at), "<") if axis == down else ((at, 1.0), "v")
        transform = axes.get_yaxis_transform() if axis == down else axes.get_xaxis_transform()
        axes.plot(*where, marker, ms=6, color=FRAME_COLOURS[axis], transform=transform, clip_on=False, zorder=5)
    axes.set_title(f"{normal} = {(place + 0.5) * step:g} {unit}", fontsize=11, color=FRAME_COLOURS[normal])
    axes.set_xlabel(f"{right} ({unit})")
    axes.set_ylabel(f"{down} ({unit})")
    for ticks, edge in ((axes.xaxis, image.shape[1]), (axes.yaxis, image.shape[0])):
        ticks.set_major_locator(MaxNLocator(max(1, round(4 * edge / max(image.shape)))))
    axes.spines[:].set(color=FRAME_COLOURS[normal], linewidth=2.0)


def _show_rendering(
    axes: Axes, scene: Scene, places: Mapping[str, int], colours: Sequence[str], voxel_size_um: float | None
) -> None:
    """The rendering, with the lengths of the edges along its outline."""
    image, extent = render(scene, places, colours, pixels=_PIXELS)
    axes.imshow(image, extent=extent, interpolation="auto")
    axes.set_axis_off()
    depth, height, width = scene.shape
    edges = {
        "x": ((width / 2, height, depth), 30.0, (0.5, -0.87)),
        "y": ((0.0, height / 2, depth), -30.0, (-0.5, -0.87)),
        "z": ((0.0, 0.0, depth / 2), 90.0, (-1.0, 0.0)),
    }
    for (name, (middle, angle, away)), voxels in zip(edges.items(), (width, height, depth), strict=True):
        length = f"{voxels} voxels" if voxel_size_um is None else f"{voxels * voxel_size_um:.4g} µm"
        axes.annotate(
            f"{name}: {length}",
            (float(middle @ RIGHT), float(middle @ UP)),
            xytext=(11 * away[0], 11 * away[1]),
            textcoords="offset points",
            rotation=angle,
            rotation_mode="default",
            ha="center",
            va="center",
            fontsize=10,
        )
