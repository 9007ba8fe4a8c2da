"""Label images and volumes at another resolution."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TIE = np.float32(1e-5)


def resize_labels(labels: NDArray[np.uint8], size: int, phases: int) -> NDArray[np.uint8]:
    """Square or cubic label crops at another edge length, labels again.

    The share of each phase in each new voxel is the area average of its indicator when the crops shrink and its (bi- or
    tri-)linear interpolate when they grow; the phase with the largest share wins. Ties, frequent where two voxels become one,
    go to the phase of one of the old voxels nearest to the centre, not to the lower label, so that no phase gains by them.

    Args:
        labels: ``(N, T, T)`` or ``(N, T, T, T)`` integers 0..n-1.
        size: new edge length.
        phases: n.

    Returns:
        ``(N, size, ...)``; the very crops where they have that size.
    """
    window, dims = labels.shape[-1], labels.ndim - 1
    if window == size:
        return labels
    nearest = (2 * np.arange(size) + 1) * window // (2 * size)
    middle = labels[(slice(None), *np.ix_(*[nearest] * dims))]
    # The shares of all phases sum to one, so that those of the first need no product.
    scores = np.empty((phases, *middle.shape), np.float32)
    scores[0] = 1.0
    for phase in range(1, phases):
        scores[phase] = _resize(labels == phase, size)
        scores[0] -= scores[phase]
    if phases == 2:
        gain: NDArray[np.float32] = scores[1] - scores[0] + (2 * _TIE * middle - _TIE)
        return (gain > 0).astype(np.uint8)
    for phase in range(phases):
        scores[phase] += _TIE * (middle == phase)
    largest: NDArray[np.intp] = scores.argmax(axis=0)
    return largest.astype(np.uint8)


@lru_cache(maxsize=8)
def _weights(window: int, size: int) -> NDArray[np.float32]:
    """What each old voxel along an axis contributes to each new one, ``(size, window)``; rows sum to one."""
    ratio = window / size
    old = np.arange(window)
    if ratio > 1:
        left, right = (np.arange(size) * ratio)[:, None], (np.arange(1, size + 1) * ratio)[:, None]
        shared: NDArray[np.float64] = np.maximum(np.minimum(right, old + 1) - np.maximum(left, old), 0.0) / ratio
        return shared.astype(np.float32)
    centres = np.clip((np.arange(size) + 0.5) * ratio - 0.5, 0, window - 1)[:, None]
    nearness: NDArray[np.float64] = np.maximum(0.0, 1.0 - np.abs(centres - old))
    return nearness.astype(np.float32)


def _resize(indicator: NDArray[np.bool_], size: int) -> NDArray[np.float32]:
    """Shares in the new voxels: weights along all axes but the first."""
    window, dims = indicator.shape[-1], indicator.ndim - 1
    if window % size == 0:
        return _block_sums(indicator, window // size) * np.float32((size / window) ** dims)
    weights = _weights(window, size)
    values: NDArray[np.float32] = indicator.astype(np.float32) @ weights.T
    for axis in range(1, dims):
        shape = values.shape
        flat = values.reshape(-1, shape[axis], int(np.prod(shape[axis + 1 :])))
        values = np.matmul(weights, flat).reshape(*shape[:axis], size, *shape[axis + 1 :])
    return values


def _block_sums(indicator: NDArray[np.bool_], ratio: int) -> NDArray[np.uint32]:
    """Voxels that are set in each block of so many along every axis; several times as fast as the weights."""
    sums: NDArray[Any] = indicator.view(np.uint8)
    for axis in range(indicator.ndim - 1, 0, -1):
        sums = np.moveaxis(sums, axis, 0)
        most = ratio ** (indicator.ndim - axis)
        total: NDArray[Any] = sums[::ratio].astype(np.uint8 if most < 256 else np.uint32)
        for offset in range(1, ratio):
            np.add(total, sums[offset::ratio], out=total)
        sums = np.moveaxis(total, 0, axis)
    return sums.astype(np.uint32)
