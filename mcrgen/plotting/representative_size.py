"""The figure of ``mcrgen representative-size``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from mcrgen.plotting.curves import COLOURS

_CURVES = 3


def plot_representative_size(path: Path, data: Mapping[str, Any], *, voxel_size_um: float | None) -> None:
    """Error against window size, F2 of windows over that of the whole, and the phase fraction, with 95 % bands.

    Args:
        path: PNG to write.
        data: the content of ``representative_size.json``.
        voxel_size_um: edge length of a voxel, or None for voxels.
    """
    unit, name = voxel_size_um or 1.0, "µm" if voxel_size_um else "voxels"
    results = data["sizes"]
    sizes = np.array([r["size"] for r in results]) * unit
    known = [r for r in results if r["mse"] is not None]
    edges = np.array([r["size"] for r in known]) * unit
    figure = Figure(figsize=(12.0, 3.6), layout="constrained")
    error, curves, fraction = figure.subplots(1, 3)
    error.fill_between(edges, [r["mse_low"] for r in known], [r["mse_high"] for r in known], color="0.85", lw=0)
    error.loglog(edges, [r["mse"] for r in known], "o-", color="black", ms=4, lw=1.2)
    error.axhline(data["tolerance"], color="tab:red", lw=1, ls="--", label=f"tolerance {data['tolerance']:g}")
    if data["representative_size"] is not None:
        chosen = data["representative_size"] * unit
        error.axvline(chosen, color="tab:red", lw=1, label=f"representative size {chosen:g}")
    error.set_xlabel(f"edge of the window ({name})")
    error.set_ylabel("mean square difference of $F_2$")
    error.legend(frameon=False, fontsize=8)
    lags = np.arange(len(data["f2"])) * unit
    shown = [known[i] for i in np.unique(np.linspace(0, len(known) - 1, min(_CURVES, len(known))).astype(int))]
    for colour, r in zip(COLOURS, shown, strict=False):
        label = f"windows of {r['size'] * unit:g}, 95 %"
        curves.fill_between(lags, r["f2_low"], r["f2_high"], color=colour, alpha=0.25, lw=0, label=label)
    curves.plot(lags, data["f2"], color="black", lw=1.5, label="the whole")
    curves.set_xlabel(f"lag $r$ ({name})")
    curves.set_ylabel("$F_2(r)$")
    curves.set_xlim(0, lags[-1])
    curves.legend(frameon=False, fontsize=8)
    low, high = ([r[f"fraction_{side}"] for r in results] for side in ("low", "high"))
    fraction.fill_between(sizes, low, high, color="0.85", lw=0, label="95 % of windows")
    fraction.semilogx(sizes, [r["fraction"] for r in results], "o-", color="black", ms=4, lw=1.2, label="mean of windows")
    fraction.axhline(data["phase_fraction"], color="tab:blue", lw=1, label="the whole")
    fraction.set_xlabel(f"edge of the window ({name})")
    fraction.set_ylabel("phase fraction")
    fraction.legend(frameon=False, fontsize=8)
    for axes in (error, fraction):
        axes.set_xticks(sizes[::2], [f"{size:g}" for size in sizes[::2]])
        axes.xaxis.set_minor_locator(NullLocator())
    for axes in (error, curves, fraction):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=200)
