"""Coarse-to-fine reconstruction: which levels there are, and how one becomes the start of the next."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def coarsest_level(shape: Sequence[int], smallest: int) -> int:
    """How often a medium can be halved along all its axes without a rest and without an edge below ``smallest`` voxels.

    Args:
        shape: voxels along each axis.
        smallest: twice the limit of the correlations (Seibert et al., Comput. Mater. Sci. 196 (2021) 110455), or what another
            descriptor needs at least.
    """
    level = 0
    while all(n % 2 ** (level + 1) == 0 and n >> (level + 1) >= smallest for n in shape):
        level += 1
    return level


def refined(medium: Tensor) -> Tensor:
    """A medium ``(C, *spatial)`` with every voxel split in two along each axis: phase fractions stay, and so do bounds."""
    for axis in range(1, medium.ndim):
        medium = medium.repeat_interleave(2, dim=axis)
    return medium
