"""The figure of ``mcrgen compare``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mcrgen.plotting.slices import common_window, show_image

REFERENCE_COLOUR = "black"
CANDIDATE_COLOUR = "tab:red"


def plot_comparison(
    path: Path,
    reference: NDArray[Any],
    sections: Mapping[str, NDArray[Any]],
    metrics: Mapping[str, Any],
    *,
    voxel_size_um: float | None,
) -> None:
    """Write the reference, sections of the candidate, S2 curves with their spread over the axes, and the errors.

    Args:
        path: PNG to write.
        reference: ``(H, W)`` labels.
        sections: title -> ``(H, W)`` labels, of as many phases as the reference.
        metrics: what :func:`mcrgen.descriptors.compare.compare` returned.
        voxel_size_um: edge length of a voxel for the axis of lags, or None for voxels.
    """
    figure = Figure(figsize=(3.1 * (len(sections) + 1), 7.0), layout="constrained")
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.0, 1.1))[:, 0]
    top_label = max(int(image.max()) for image in (reference, *sections.values()))
    images = {name: image / top_label for name, image in {"reference": reference, **sections}.items()}
    window = common_window(images.values())
    for axes, (name, image) in zip(top.subplots(1, len(images), squeeze=False)[0], images.items(), strict=True):
        show_image(axes, image, name, window)
    left, right = bottom.subplots(1, 2, width_ratios=(1.7, 1.0))
    _plot_s2(left, metrics["s2"], voxel_size_um)
    _plot_errors(right, metrics)
    figure.savefig(path, dpi=130)


def _plot_s2(axes: Axes, s2: Mapping[str, Any], voxel_size_um: float | None) -> None:
    lags = np.arange(s2["max_lag"] + 1) * (voxel_size_um or 1.0)
    for side, colour in (("reference", REFERENCE_COLOUR), ("candidate", CANDIDATE_COLOUR)):
        curves = np.array(list(s2[f"{side}_per_axis"].values()))
        axes.plot(lags, s2[side], color=colour, lw=1.6, label=f"{side}, mean of {len(curves)} axes")
        axes.fill_between(lags, curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.18, lw=0)
    axes.set_xlabel("lag r (voxels)" if voxel_size_um is None else "lag r (µm)")
    axes.set_ylabel(r"$S_2(r)$")
    axes.set_xlim(0, lags[-1])
    axes.legend(frameon=False)
    axes.set_title("two-point correlation (shaded: spread over the axes)", fontsize=10)


def _plot_errors(axes: Axes, metrics: Mapping[str, Any]) -> None:
    """Relative errors as bars with their values."""
    errors = {
        "phase fraction": metrics["phase_fraction"]["relative_error"],
        "S2": metrics["s2"]["relative_l2"],
        "2D autocovariance": metrics["autocovariance_2d"]["relative_l2"],
        "specific surface": metrics["specific_surface"]["relative_error"],
    }
    values = [100.0 * e for e in errors.values()]
    bars = axes.barh(list(errors), values, color=CANDIDATE_COLOUR, alpha=0.7)
    axes.bar_label(bars, [f"{v:.2f} %" for v in values], padding=3)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.3 * max(*values, 1e-9))
    axes.set_xlabel("relative error (%)")
    axes.spines[["top", "right"]].set_visible(False)
