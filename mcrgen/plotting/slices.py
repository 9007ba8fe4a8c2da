"""Images side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray


def show_image(axes: Axes, image: NDArray[Any], title: str, window: int | None = None) -> None:
    """Draw one image without interpolation or ticks, its size in the title.

    Args:
        axes: where to draw.
        image: ``(H, W)``, black at 0 and white at 1.
        title: what it is.
        window: show only the first ``window`` pixels of either axis, so that images side by side have one scale.
    """
    part = image[:window, :window]
    size, shown = (f"{shape[0]} × {shape[1]}" for shape in (image.shape, part.shape))
    axes.imshow(part, cmap="gray", interpolation="nearest", vmin=0, vmax=1)
    axes.set_title(f"{title}\n{size if part.size == image.size else f'{shown} of {size}'}", fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])


def grey(channels: NDArray[Any]) -> NDArray[Any]:
    """One picture in [0, 1] of indicator channels ``(C, H, W)``: the channel itself, or the index of the largest."""
    picture: NDArray[Any] = channels[0] if len(channels) == 1 else channels.argmax(axis=0) / (len(channels) - 1)
    return picture


def common_window(images: Iterable[NDArray[Any]]) -> int:
    """The longer edge of the smallest image."""
    return min(int(max(image.shape)) for image in images)


def plot_slices(path: Path, panels: Mapping[str, NDArray[Any]], *, title: str) -> None:
    """Write images in one row.

    Args:
        path: PNG to write.
        panels: title -> ``(H, W)`` image in [0, 1]; each is cut to the size of the smallest.
        title: title of the figure.
    """
    figure = Figure(figsize=(3.0 * len(panels), 3.5), layout="constrained")
    figure.suptitle(title, fontsize=10)
    window = common_window(panels.values())
    for axes, (name, image) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        show_image(axes, image, name, window)
    figure.savefig(path, dpi=120)
