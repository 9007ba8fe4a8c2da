"""The figure of a medium whose phase fraction follows a field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mcrgen.plotting.curves import COLOURS

Profile = tuple[Sequence[float], Sequence[float], Sequence[float]]
"""Positions in voxels, and at each the requested and the achieved fraction."""


def plot_profiles(path: Path, profiles: Mapping[str, Profile], *, voxel_size_um: float | None) -> None:
    """Requested and achieved phase fraction along each axis.

    Args:
        path: PNG to write.
        profiles: name of an axis -> what is along it.
        voxel_size_um: edge length of a voxel, or None for voxels.
    """
    unit, name = voxel_size_um or 1.0, "µm" if voxel_size_um else "voxels"
    figure = Figure(figsize=(3.2 * len(profiles), 2.8), layout="constrained")
    panels = figure.subplots(1, len(profiles), sharey=True, squeeze=False)[0]
    for axes, (axis, (positions, requested, achieved)) in zip(panels, profiles.items(), strict=True):
        places = np.asarray(positions) * unit
        axes.plot(places, achieved, "o-", color=COLOURS[1], ms=3, lw=1.2, label="achieved")
        axes.plot(places, requested, "--", color="black", lw=1.2, label="requested")
        axes.set_xlabel(f"{axis} ({name})")
        axes.margins(y=0.15)
        axes.set_xlim(left=0.0)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("phase fraction")
    panels[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)
