"""Separable filters of fields that any block can be asked of: the block is enlarged by what the filter takes away."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
from torch import Tensor

from mcrgen.generation.blocks import Block

TRUNCATION = 4.0
"""Standard deviations after which a Gaussian kernel ends."""


def enlarged(block: Block, radius: int) -> Block:
    """The block with that many voxels more on every side."""
    z, y, x = block.start
    d, h, w = block.stop
    return Block((z - radius, y - radius, x - radius), (d + radius, h + radius, w + radius))


def gaussian_taps(sigma: float) -> tuple[float, ...]:
    """Weights of a sampled Gaussian that sum to one, as many as scipy.ndimage's with ``truncate=4``.

    Args:
        sigma: standard deviation in voxels.

    Returns:
        2r + 1 weights, r = int(4 sigma + 1/2).
    """
    radius = int(TRUNCATION * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return tuple((weights / weights.sum()).tolist())


def box_taps(width: float) -> tuple[float, ...]:
    """Weights of a moving average over ``width`` voxels; the outermost voxels count with the part of them that lies within.

    A step is turned into a straight ramp of that width, at each voxel the ramp's value in the voxel's middle.

    Args:
        width: in voxels; 1 or less leaves a field as it is.

    Returns:
        2r + 1 weights, r = ceil((width - 1) / 2).
    """
    if width <= 1.0:
        return (1.0,)
    radius = ceil((width - 1.0) / 2.0)
    outermost = (width - (2 * radius - 1)) / 2.0
    return (outermost / width, *[1.0 / width] * (2 * radius - 1), outermost / width)


def filtered(values: Tensor, taps: Sequence[float]) -> Tensor:
    """Correlate the last three axes with a symmetric kernel, keeping what needs no padding.

    Products and sums are rounded one by one and in a fixed order, so that a voxel gets the same bits in every block.

    Args:
        values: ``(..., D + 2r, H + 2r, W + 2r)`` float32.
        taps: 2r + 1 symmetric weights, the same for each axis.

    Returns:
        ``(..., D, H, W)`` float32.
    """
    radius = len(taps) // 2
    for axis in (-3, -2, -1):
        length = values.shape[axis] - 2 * radius
        out = values.narrow(axis, radius, length) * taps[radius]
        for i in range(radius):
            pair = values.narrow(axis, i, length) + values.narrow(axis, 2 * radius - i, length)
            out += pair.mul_(taps[i])
        values = out
    return values
