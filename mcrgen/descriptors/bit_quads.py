"""Bit quads: how often interfaces in slices run straight along the grid, and how often they turn."""

from __future__ import annotations

import torch
from torch import Tensor

from mcrgen.descriptors.module import Descriptor, as_real
from mcrgen.errors import InputError


def bit_quads(slices: Tensor) -> Tensor:
    """Shares of straight, corner and diagonal among the 2 x 2 blocks that an interface passes.

    The bit quads of Gray, IEEE Trans. Comput. C-20 (1971) 551: straight has two voxels of the phase side by side, corner one or
    three, diagonal two across. The share of corners tells how crisp facets along the grid are: 1 / e for squares of e voxels
    each way, 2 - sqrt(2) = 0.586 for smooth interfaces of all directions alike (a line at the angle t to an axis, at most 45
    degrees, has the share 2 tan(t) / (1 + tan(t))), and more for rough ones. Facets oblique to the grid look rough to it.

    Args:
        slices: ``(B, C, H, W)``. Of grey values, the expectation over independent voxels with these probabilities is taken,
            which makes the shares differentiable.

    Returns:
        ``(B, C, 3)`` float64: straight, corner, diagonal. They sum to one, or to zero where a phase has no interface.

    Raises:
        InputError: the input is not a batch of slices of 2 x 2 voxels or more.
    """
    if slices.ndim != 4 or min(slices.shape[2:]) < 2:
        raise InputError(f"slices: expected (B, C, H, W) with 2 voxels or more along each axis, got {tuple(slices.shape)}.")
    field = as_real(slices)
    left, right = field[..., :-1], field[..., 1:]
    both, none, first, second = left * right, (1 - left) * (1 - right), left * (1 - right), (1 - left) * right
    straight = _above(both, none) + _above(none, both) + _above(first, first) + _above(second, second)
    corner = _above(both + none, first + second) + _above(first + second, both + none)
    diagonal = _above(first, second) + _above(second, first)
    shares = torch.stack([straight, corner, diagonal], dim=-1)
    total = shares.sum(dim=-1, keepdim=True)
    return shares / torch.where(total > 0, total, 1.0)


def _above(upper: Tensor, lower: Tensor) -> Tensor:
    """Frequency ``(B, C)`` of one kind of pair right above another."""
    return (upper[..., :-1, :] * lower[..., 1:, :]).mean(dim=(2, 3), dtype=torch.float64)


class BitQuads(Descriptor):
    """:func:`bit_quads` with nothing to set."""

    function = staticmethod(bit_quads)
