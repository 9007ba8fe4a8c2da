"""Images side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray


def show_image(axes: Axes, image: NDArray[Any], title: str) -> None:
    """Draw one image without interpolation or ticks, its size in the title."""
    axes.imshow(image, cmap="gray", interpolation="nearest")
    axes.set_title(f"{title}\n{image.shape[0]} × {image.shape[1]}", fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])


def plot_slices(path: Path, panels: Mapping[str, NDArray[Any]], *, title: str) -> None:
    """Write images in one row.

    Args:
        path: PNG to write.
        panels: title -> ``(H, W)`` image; each is stretched over its own range of grey.
        title: title of the figure.
    """
    figure = Figure(figsize=(3.0 * len(panels), 3.5), layout="constrained")
    figure.suptitle(title, fontsize=10)
    for axes, (name, image) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        show_image(axes, image, name)
    figure.savefig(path, dpi=120)
