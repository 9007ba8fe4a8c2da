"""Phase fraction."""

from __future__ import annotations

import torch
from torch import Tensor

from mcrgen.descriptors.module import Descriptor


def phase_fraction(indicator: Tensor) -> Tensor:
    """Phase fraction phi = <I(x)>, differentiable.

    The mean over all voxels; periodic wrap and finite window agree.

    Args:
        indicator: ``(B, C, *spatial)``.

    Returns:
        ``(B, C)`` float64.
    """
    return indicator.flatten(2).mean(dim=2, dtype=torch.float64)


class PhaseFraction(Descriptor):
    """:func:`phase_fraction`."""

    function = staticmethod(phase_fraction)
