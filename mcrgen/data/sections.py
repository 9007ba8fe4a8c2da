"""Square windows of 2D images of different sizes, and the sections of a volume."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mcrgen.errors import InputError


def sections_of(volume: NDArray[np.uint8], normal: int) -> list[NDArray[np.uint8]]:
    """All sections of a volume normal to one axis, as views.

    Args:
        volume: ``(D, H, W)``, axes z, y, x.
        normal: 0 for z (rows along y, columns along x), 1 for y (rows z, columns x), 2 for x (rows z, columns y).

    Returns:
        As many 2D images as the volume is thick along the normal.
    """
    return list(np.moveaxis(volume, normal, 0))


class Windows:
    """All ``T`` x ``T`` windows of several label images, numbered image by image and row by row of their corners.

    No window is stored: the images lie one after the other in one buffer, and a window is gathered line by line from it.

    Attributes:
        images: the images.
        size: edge length T of a window in pixels.
    """

    def __init__(self, images: Sequence[NDArray[np.uint8]], size: int) -> None:
        """Number the windows.

        Args:
            images: label images ``(H, W)``, which may differ in size.
            size: edge length T of a window in pixels.

        Raises:
            InputError: an image is smaller than a window.
        """
        shortest = min(min(image.shape) for image in images)
        if not 1 <= size <= shortest:
            raise InputError(
                f"data.patch_size: expected 1 to {shortest} pixels, the shortest edge of the exemplar's images, got {size}."
            )
        self.images = tuple(images)
        self.size = size
        shapes = np.array([image.shape for image in images])
        self._widths = shapes[:, 1]
        self._across = self._widths - size + 1
        self._firsts = np.concatenate([[0], np.cumsum((shapes[:, 0] - size + 1) * self._across)])
        self._origins = np.concatenate([[0], np.cumsum(shapes.prod(axis=1))[:-1]])
        buffer = np.concatenate([image.ravel() for image in images])
        # One item for each line of T pixels that begins anywhere: moving whole lines needs T times fewer indices than pixels.
        self._lines = np.ndarray((len(buffer) - size + 1,), f"V{size}", buffer, strides=(1,))

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def gather(self, indices: NDArray[np.intp]) -> NDArray[np.uint8]:
        """Windows ``(M, T, T)`` of these numbers ``(M,)``, copied out of the images."""
        image = np.searchsorted(self._firsts, indices, side="right") - 1
        row, column = np.divmod(indices - self._firsts[image], self._across[image])
        width = self._widths[image]
        corner = self._origins[image] + row * width + column
        lines = self._lines[corner[:, None] + width[:, None] * np.arange(self.size)]
        pixels: NDArray[np.uint8] = lines.view(np.uint8)
        return pixels.reshape(-1, self.size, self.size)

    def fractions(self, phases: int) -> NDArray[np.float32]:
        """Fraction of each of the phases 0..n-1 within each window, ``(N, n)``."""
        counts = np.empty((len(self), phases), np.float32)
        for image, (first, last) in zip(self.images, pairwise(self._firsts), strict=True):
            for phase in range(phases):
                counts[first:last, phase] = _box_sums(image == phase, self.size).ravel()
        counts /= self.size**2
        return counts


def _box_sums(image: NDArray[np.bool_], size: int) -> NDArray[np.int32]:
    """Number of pixels that are set in each square window of an image."""
    sums: NDArray[np.int32] = image.astype(np.int32)
    for axis in (0, 1):
        sums = np.moveaxis(sums, axis, 0).cumsum(axis=0, dtype=np.int32)
        sums[size:] -= sums[:-size].copy()
        sums = np.moveaxis(sums[size - 1 :], 0, axis)
    return sums
