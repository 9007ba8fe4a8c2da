"""Correlation functions scaled to start at one and to decay to zero."""

from __future__ import annotations

import torch
from torch import Tensor

from mcrgen.descriptors.module import Descriptor
from mcrgen.errors import InputError


def scaled_autocovariance(curve: Tensor, fraction: Tensor | float, order: int) -> Tensor:
    """Scaled autocovariance F_n(r) = (P_n(r) - phi^n) / (phi - phi^n) (Amiri et al., Sci. Rep. 13 (2023) 1732, eq. 2).

    F_n(0) = 1 where all n points coincide, and F_n = 0 where they are independent; n = 2 is the scaled autocovariance of S2.

    Args:
        curve: ``(..., lags)`` n-point correlation P_n of one phase, for any number of leading axes.
        fraction: phase fraction phi; a number, or one for each curve, in a shape that broadcasts with ``(...)``.
        order: number of points n.

    Returns:
        ``(..., lags)``.

    Raises:
        InputError: a fraction is not strictly between 0 and 1 (nothing to scale), or ``order`` is below 2.
    """
    if order < 2:
        raise InputError(f"order: expected 2 points or more, got {order}.")
    phi = torch.as_tensor(fraction, dtype=curve.dtype, device=curve.device)
    outside = phi.detach()[~((phi > 0) & (phi < 1))]
    if len(outside):
        raise InputError(f"fraction: expected a phase fraction between 0 and 1 (exclusive), got {float(outside[0])}.")
    independent = (phi**order).unsqueeze(-1)
    return (curve - independent) / (phi.unsqueeze(-1) - independent)


class ScaledAutocovariance(Descriptor):
    """:func:`scaled_autocovariance` with its settings."""

    function = staticmethod(scaled_autocovariance)
