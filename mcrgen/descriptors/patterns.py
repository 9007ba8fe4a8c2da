"""Local patterns: every T x T neighbourhood of a slice as a vector."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mcrgen.descriptors.module import as_real


def local_patterns(slices: Tensor, size: int) -> Tensor:
    """All ``size`` x ``size`` patterns of a batch of slices (stride 1, no padding), differentiable.

    Args:
        slices: ``(B, C, H, W)``.
        size: edge length T of a pattern in pixels.

    Returns:
        ``(B * (H - T + 1) * (W - T + 1), C * T * T)``, ordered by batch, row, column; a vector runs over channel, row, column.
    """
    columns = F.unfold(as_real(slices), size)
    return columns.transpose(1, 2).reshape(-1, columns.shape[1])
