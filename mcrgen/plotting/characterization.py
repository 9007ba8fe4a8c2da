"""The figures of ``mcrgen characterize``, one per descriptor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from mcrgen.plotting.curves import COLOURS, Line, plot_curve

_DPI = 200
_MAP_COLOURS = "viridis"


def plot_curves(path: Path, curves: Mapping[str, Mapping[str, Sequence[float]]], *, voxel_size_um: float | None) -> None:
    """Curves along the axes (or in the section normals) and their mean, one panel per descriptor.

    Args:
        path: PNG to write.
        curves: descriptor -> axis or normal -> values over the lags.
        voxel_size_um: edge length of a voxel, or None for voxels.
    """
    columns = min(2, len(curves))
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.2 * rows), layout="constrained")
    for axes, (name, parts) in zip(figure.subplots(rows, columns, squeeze=False).ravel(), curves.items(), strict=True):
        kind = "normal to" if name.startswith("p") else "along"
        mean = Line(np.mean(list(parts.values()), axis=0).tolist(), "mean", "black")
        each = [Line(v, f"{kind} {p}", COLOURS[i], dashed=True) for i, (p, v) in enumerate(parts.items())]
        several = len(parts) > 1
        plot_curve(axes, name, [*each, mean] if several else [mean], voxel_size_um=voxel_size_um)
        if several:
            axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=_DPI)


def plot_map(path: Path, values: NDArray[Any], radial: Sequence[float], *, voxel_size_um: float | None) -> None:
    """The central planes of a map of S2 and its average over directions.

    Args:
        path: PNG to write.
        values: 2D or 3D map, the zero lag in the centre.
        radial: average over directions at radii 0, 1, 2, ... voxels.
        voxel_size_um: edge length of a voxel, or None for voxels.
    """
    planes = {"": values}
    if values.ndim == 3:
        planes = {f"normal to {n}": values.take(values.shape[i] // 2, axis=i) for i, n in enumerate("zyx")}
    unit = voxel_size_um or 1.0
    figure = Figure(figsize=(3.4 * (len(planes) + 1) + 0.6, 3.2), layout="constrained")
    *panels, last = figure.subplots(1, len(planes) + 1)
    for axes, (title, plane) in zip(panels, planes.items(), strict=True):
        reach = (plane.shape[0] // 2 + 0.5) * unit
        image = axes.imshow(
            plane, cmap=_MAP_COLOURS, extent=(-reach, reach, reach, -reach), vmin=values.min(), vmax=values.max()
        )
        axes.set_title(f"$S_2$ {title}".strip(), fontsize=10)
        axes.set_xlabel(f"lag ({'µm' if voxel_size_um else 'voxels'})")
    figure.colorbar(image, ax=panels, shrink=0.85)
    plot_curve(last, "s2", [Line(radial, None, "black")], voxel_size_um=voxel_size_um)
    last.set_title("mean over directions", fontsize=10)
    figure.savefig(path, dpi=_DPI)


def plot_three_point(path: Path, matrices: Mapping[str, NDArray[Any]], limit: int) -> None:
    """S3 as a matrix over pairs of lag vectors.

    Args:
        path: PNG to write.
        matrices: section normal -> ``(N, N)``.
        limit: lags are below this.
    """
    figure = Figure(figsize=(3.6 * len(matrices) + 0.6, 3.6), layout="constrained")
    panels = figure.subplots(1, len(matrices), squeeze=False)[0]
    low, high = min(m.min() for m in matrices.values()), max(m.max() for m in matrices.values())
    for axes, (normal, matrix) in zip(panels, matrices.items(), strict=True):
        image = axes.imshow(matrix, cmap=_MAP_COLOURS, vmin=low, vmax=high)
        axes.set_title("$S_3(r_i, r_j)$" + (f", normal to {normal}" if len(matrices) > 1 else ""), fontsize=10)
        axes.set_xlabel(f"lag vector $j$ (lags below {limit})")
        axes.set_ylabel("lag vector $i$")
    figure.colorbar(image, ax=panels, shrink=0.85)
    figure.savefig(path, dpi=_DPI)


def plot_gram(path: Path, matrices: Mapping[str, NDArray[Any]]) -> None:
    """Gram matrices of the layers, on a logarithmic scale of colours.

    Args:
        path: PNG to write.
        matrices: layer -> ``(N, N)``.
    """
    figure = Figure(figsize=(2.9 * len(matrices), 3.2), layout="constrained")
    for i, (axes, matrix) in enumerate(zip(figure.subplots(1, len(matrices)), matrices.values(), strict=True), 1):
        image = axes.imshow(np.log10(np.maximum(matrix, 1e-6)), cmap=_MAP_COLOURS)
        axes.set_title(f"layer {i}: {len(matrix)} filters", fontsize=10)
        axes.set_xlabel("filter")
        figure.colorbar(image, ax=axes, shrink=0.75, label="$\\log_{10} G$" if i == len(matrices) else None)
    figure.savefig(path, dpi=_DPI)


def plot_minkowski(path: Path, rows: Sequence[Sequence[Any]], *, voxel_size_um: float | None) -> None:
    """Minkowski functionals of the parallel bodies.

    Args:
        path: PNG to write.
        rows: distance in voxels, fraction, boundary, mean curvature (or an empty string), Euler number, all per voxel.
        voxel_size_um: edge length of a voxel, or None for voxels.
    """
    flat = rows[0][3] == ""
    unit, name = voxel_size_um or 1.0, "µm" if voxel_size_um else "voxel"
    labels = ["phase fraction", f"perimeter per area (1/{name})" if flat else f"surface per volume (1/{name})"]
    powers = [0, 1]
    if not flat:
        labels.append(f"mean curvature\nper volume (1/{name}$^2$)")
        powers.append(2)
    dimension = 2 if flat else 3
    labels.append(f"Euler number\nper {'area' if flat else 'volume'} (1/{name}$^{dimension}$)")
    powers.append(dimension)
    columns = [1, 2, 4] if flat else [1, 2, 3, 4]
    distances = [row[0] * unit for row in rows]
    figure = Figure(figsize=(3.5 * len(labels), 3.2), layout="constrained")
    for axes, label, column, power in zip(figure.subplots(1, len(labels)), labels, columns, powers, strict=True):
        axes.plot(distances, [row[column] / unit**power for row in rows], "o-", color="black", ms=3.5, lw=1.2)
        axes.axvline(0.0, color="0.8", lw=1, zorder=0)
        axes.set_xlabel(f"dilation by ({'µm' if voxel_size_um else 'voxels'})")
        axes.set_ylabel(label)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=_DPI)


def plot_pores(path: Path, distributions: Mapping[str, Any], *, voxel_size_um: float | None) -> None:
    """Distributions of pore areas, and of the orientations of elongated pores as a rose.

    Args:
        path: PNG to write.
        distributions: the fields of :class:`mcrgen.descriptors.pores.PoreDistributions` as lists.
        voxel_size_um: edge length of a voxel, or None for voxels.
    """
    unit = (voxel_size_um or 1.0) ** 2
    figure = Figure(figsize=(8.0, 3.6), layout="constrained")
    left = figure.add_subplot(1, 2, 1)
    edges = np.array(distributions["area_edges"]) * unit
    shares = np.array(distributions["area_density"]) * np.diff(distributions["area_edges"])
    left.bar(edges[:-1], shares, np.diff(edges), align="edge", color="0.6", edgecolor="white", lw=0.5)
    left.set_xscale("log")
    left.xaxis.set_minor_formatter(NullFormatter())
    left.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    left.set_xlabel("pore area (µm$^2$)" if voxel_size_um else "pore area (pixel$^2$)")
    left.set_ylabel("share of the pores")
    left.set_title(f"{distributions['pores']} pores inside the image", fontsize=10)
    left.spines[["top", "right"]].set_visible(False)
    right = figure.add_subplot(1, 2, 2, projection="polar")
    angles = np.radians(distributions["orientation_edges"])
    centres, width = (angles[1:] + angles[:-1]) / 2, angles[1] - angles[0]
    density = np.array(distributions["orientation_density"])
    for turn in (0.0, np.pi):  # an axis has no head and no tail
        right.bar(centres + turn, density, width=width, color="0.6", edgecolor="white", lw=0.5)
    right.set_yticklabels([])
    right.set_title(f"orientation of {distributions['elongated']} elongated pores, by area", fontsize=10)
    figure.savefig(path, dpi=_DPI)
