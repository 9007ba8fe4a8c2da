"""Many small images of a kind beside those of another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray

_GAP = 2
_COLOURS = colormaps["gray"].with_extremes(bad="tab:blue")


def plot_grids(path: Path, grids: Mapping[str, NDArray[Any]], *, title: str) -> None:
    """Write a square of images for each kind.

    Args:
        path: PNG to write.
        grids: title -> ``(N, H, W)`` images in [0, 1], black at 0; as many of each are shown as make a square of all kinds.
        title: title of the figure.
    """
    figure = Figure(figsize=(5.0 * len(grids), 5.4), layout="constrained")
    figure.suptitle(title, fontsize=11)
    edge = int(min(map(len, grids.values())) ** 0.5)
    for axes, (name, images) in zip(figure.subplots(1, len(grids), squeeze=False)[0], grids.items(), strict=True):
        axes.imshow(tiled(images, edge), cmap=_COLOURS, interpolation="nearest", vmin=0, vmax=1)
        height, width = images.shape[1:]
        axes.set_title(f"{name}, {height} × {width}", fontsize=10)
        axes.axis("off")
    figure.savefig(path, dpi=110)


def tiled(images: NDArray[Any], edge: int) -> NDArray[Any]:
    """The first of images ``(N, H, W)`` in one picture, ``edge`` rows and columns of them, with empty (NaN) gaps."""
    padded = np.pad(images[: edge**2].astype(float), ((0, 0), (0, _GAP), (0, _GAP)), constant_values=np.nan)
    rows = padded.reshape(edge, edge, *padded.shape[1:]).transpose(0, 2, 1, 3)
    return rows.reshape(edge * padded.shape[1], -1)[:-_GAP, :-_GAP]
