"""Media that need no file: a photograph a dependency ships, and synthetic ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def gravel() -> NDArray[np.uint8]:
    """Photograph of gravel, ``(512, 512)`` grey values, CC0, shipped with scikit-image."""
    from skimage.data import gravel as photograph

    image: NDArray[np.uint8] = photograph()
    return image


def gaussian_level_cut(
    shape: tuple[int, ...], fractions: tuple[float, ...], correlation: float, seed: int
) -> NDArray[np.uint8]:
    """Phases cut from a periodic Gaussian random field at the levels that give exactly these fractions.

    Args:
        shape: 2D or 3D size in voxels.
        fractions: phase fractions from the lowest level up; they sum to one.
        correlation: standard deviation in voxels of the Gaussian kernel that white noise is smoothed with.
        seed: seed of the noise.

    Returns:
        Labels 0..n-1 of the given shape.
    """
    from scipy.ndimage import gaussian_filter

    white = np.random.default_rng(seed).standard_normal(shape)
    field = gaussian_filter(white, correlation, mode="wrap")
    ranks = np.empty(field.size, dtype=np.int64)
    ranks[np.argsort(field, axis=None)] = np.arange(field.size)
    edges = np.cumsum(fractions)[:-1] * field.size
    return np.digitize(ranks, edges).astype(np.uint8).reshape(shape)
