"""Coarsened copies of a medium, so that a descriptor of limited range sees further."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mcrgen.descriptors.module import Descriptor, as_real
from mcrgen.errors import InputError


def multigrid_levels(medium: Tensor, limit: int) -> list[Tensor]:
    """The medium and its coarsenings by average pooling over 2 x 2 (x 2) voxels, differentiable.

    A correlation with lags below ``limit``, measured on level k, covers lags up to 2^k ``limit`` of the medium at the cost of
    ``limit`` (Seibert et al., Comput. Mater. Sci. 196 (2021) 110455, multigrid scheme).

    Args:
        medium: slices ``(B, C, H, W)`` or volumes ``(B, C, D, H, W)``.
        limit: range of the descriptor in voxels; coarsening goes on while every edge has 2 ``limit`` voxels or more.

    Returns:
        The levels from fine to coarse. Level 0 is the medium itself, whatever its size. A trailing odd row, column or plane is
        dropped on the way to the next level.

    Raises:
        InputError: ``limit`` is below 1, or the medium is neither slices nor volumes.
    """
    if limit < 1:
        raise InputError(f"limit: expected 1 or more, got {limit}.")
    if medium.ndim not in (4, 5):
        raise InputError(f"medium: expected slices (B, C, H, W) or volumes (B, C, D, H, W), got {medium.ndim} axes.")
    pool = F.avg_pool2d if medium.ndim == 4 else F.avg_pool3d
    levels = [as_real(medium)]
    while min(levels[-1].shape[2:]) // 2 >= 2 * limit:
        levels.append(pool(levels[-1], 2))
    return levels


class Multigrid(Descriptor):
    """:func:`multigrid_levels` with its settings."""

    function = staticmethod(multigrid_levels)
