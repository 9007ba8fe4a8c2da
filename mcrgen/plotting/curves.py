"""Curves of descriptors over lags, with bands; shared by all figures that show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from mcrgen.plotting.names import CURVE_NAMES

SYMBOLS = {
    "s2": "$S_2(r)$",
    "lineal_path": "$L(r)$",
    "chord_length": r"$p(\ell)$",
    "p3h": "$P_{3H}(r)$",
    "p3v": "$P_{3V}(r)$",
    "p4": "$P_4(r)$",
    "p6": "$P_6(r)$",
    "c2": "$C_2(r)$",
}
COLOURS = ("tab:red", "tab:blue", "tab:green", "tab:orange", "tab:purple", "tab:brown", "tab:pink", "tab:olive", "tab:cyan")

_SEEN = 0.005


@dataclass(frozen=True)
class Line:
    """One curve to draw.

    Attributes:
        values: over lags 0, 1, 2, ...
        label: for the legend; None for none.
        colour: a matplotlib colour.
        parts: curves whose spread is shaded.
        dashed: whether to dash it.
    """

    values: Sequence[float]
    label: str | None
    colour: str
    parts: Sequence[Sequence[float]] = ()
    dashed: bool = False


def plot_curve(
    axes: Axes,
    name: str,
    lines: Sequence[Line],
    *,
    band: Mapping[str, Sequence[float]] | None = None,
    window: int | None = None,
    voxel_size_um: float | None = None,
) -> None:
    """Draw one descriptor.

    Args:
        axes: where to draw.
        name: its name, for title and axis.
        lines: the curves.
        band: ``low`` and ``high`` over the lags, drawn grey.
        window: edge of the windows that the band is of, in voxels.
        voxel_size_um: edge length of a voxel for the axis of lags, or None for voxels.
    """
    unit = voxel_size_um or 1.0
    if band is not None:
        lags = np.arange(len(band["low"])) * unit
        axes.fill_between(
            lags, band["low"], band["high"], color="0.85", lw=0, label=f"95 % of windows of {window} voxels", zorder=0
        )
    for line in lines:
        lags = np.arange(len(line.values)) * unit
        axes.plot(lags, line.values, color=line.colour, lw=1.5, ls="--" if line.dashed else "-", label=line.label)
        if len(line.parts) > 1:
            spread = np.array(line.parts)
            axes.fill_between(lags, spread.min(axis=0), spread.max(axis=0), color=line.colour, alpha=0.15, lw=0)
    symbol = "\\ell" if name == "chord_length" else "r"
    kind = "length" if name == "chord_length" else "lag"
    axes.set_xlabel(f"{kind} ${symbol}$ ({'voxels' if voxel_size_um is None else 'µm'})")
    axes.set_ylabel(SYMBOLS[name])
    axes.set_title(CURVE_NAMES[name], fontsize=10)
    axes.set_xlim(0, unit * max(1, max(_last_seen(name, line.values) for line in lines)))
    if band is not None:  # the scatter of windows may be far larger than what is to be seen
        top = max(max(line.values) for line in lines)
        bottom = min(min(line.values) for line in lines)
        axes.set_ylim(bottom - 0.12 * (top - bottom), top + 0.12 * (top - bottom))
    axes.spines[["top", "right"]].set_visible(False)


def _last_seen(name: str, values: Sequence[float]) -> int:
    """Last lag worth showing: curves that die out are cut where less than half a percent of their height is left."""
    if name not in ("lineal_path", "chord_length"):
        return len(values) - 1
    return int(np.flatnonzero(np.asarray(values) >= _SEEN * max(values)).max(initial=0))
